"""What opens a tail behind HTTP: a bearer token, or the signature of AWS for addresses of its gateways."""

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote_to_bytes

from urllib3.util import Url

from hybrid_batch.data.aws.aws_client import one_line
from hybrid_batch.data.aws.session import aws_session
from hybrid_batch.data.errors import TailRefused, WrongUsage

TOKEN = "HYBRID_BATCH_TAIL_TOKEN"  # noqa: S105 - its name
_LONGEST = 4096
_GATEWAYS = {
    "execute-api": re.compile(r"[a-z0-9-]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?"),
    "lambda": re.compile(r"[a-z0-9-]+\.lambda-url\.([a-z0-9-]+)\.on\.aws"),
}
_LOOPBACK = re.compile(r"(?:.+\.)?localhost|127\.0\.0\.1|\[::1\]")


class Access(Protocol):
    """What opens a tail; threads may ask at once."""

    def headers(self, method: str, url: str, content: bytes) -> Mapping[str, str]:
        """What a request must carry. Raises TailRefused."""
        ...


class BearerToken:
    """Shows a token with every request."""

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}

    def headers(self, method: str, url: str, content: bytes) -> Mapping[str, str]:
        """See Access."""
        return self._headers


class Password:
    """Shows a user name and a password with every request, as an address may hold them."""

    def __init__(self, auth: str) -> None:
        self._headers = {"Authorization": basic(auth)}

    def headers(self, method: str, url: str, content: bytes) -> Mapping[str, str]:
        """See Access."""
        return self._headers


class Signature:
    """Signs every request, its body included, with the credentials that the AWS variables and files give then
    (Signature Version 4). Without any the request goes unsigned, for what is open to all needs none."""

    def __init__(self, service: str, region: str) -> None:
        from botocore.exceptions import BotoCoreError

        self._service, self._region = service, region
        try:
            self._credentials = aws_session().get_credentials()
        except BotoCoreError as error:
            raise _no_signature(error) from error

    def headers(self, method: str, url: str, content: bytes) -> Mapping[str, str]:
        """See Access."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        if self._credentials is None:
            return {}
        signed = AWSRequest(method, url, data=content)
        try:
            SigV4Auth(self._credentials.get_frozen_credentials(), self._service, self._region).add_auth(signed)
        except BotoCoreError as error:
            raise _no_signature(error) from error
        return dict(signed.headers)


def find_access(url: Url, token_file: str | None) -> Access | None:
    """What opens the tail at a URL: the token of the file, else that of the variable HYBRID_BATCH_TAIL_TOKEN, else the
    signature where AWS asks for one, else the user name and password of the URL, else nothing. Raises WrongUsage for a
    token that cannot be read, and for what would travel in clear; TailRefused for AWS settings that make no sense."""
    token = _read_token(token_file)
    secret = "token" if token is not None else "password" if url.auth else None
    if secret is not None and url.scheme != "https" and not on_this_machine(url):
        raise WrongUsage(f"The {secret} would travel to {url.host} for all to read; use https://, or give no {secret}.")
    if token is not None:
        return BearerToken(token)
    for service, pattern in _GATEWAYS.items():
        if url.scheme == "https" and (found := pattern.fullmatch(url.host or "")):
            return Signature(service, found[1])
    return Password(url.auth) if url.auth else None


def basic(auth: str) -> str:
    """The header that shows `USER:PASSWORD` as a URL spells it, percent signs and all: whatever bytes that means."""
    return f"Basic {b64encode(unquote_to_bytes(auth)).decode()}"


def on_this_machine(url: Url) -> bool:
    """Whether what is sent there does not leave this machine."""
    return _LOOPBACK.fullmatch(url.host or "") is not None


def _no_signature(error: Exception) -> TailRefused:
    return TailRefused(f"Requests cannot be signed ({one_line(error)}); correct or renew the AWS credentials.")


def _read_token(path: str | None) -> str | None:
    if path is None:
        token, place = os.environ.get(TOKEN), f"The variable {TOKEN}"
        if token is None:
            return None
    else:
        place = f"The token file {path}"
        try:
            with Path(path).open(encoding="utf-8") as file:
                token = file.read(_LONGEST + 1)
        except (OSError, UnicodeDecodeError) as error:
            raise WrongUsage(f"{place} cannot be read ({getattr(error, 'strerror', None) or 'not text'}).") from error
    token = token.strip()
    if not token or len(token) > _LONGEST or not token.isascii() or not token.isprintable() or " " in token:
        raise WrongUsage(f"{place} does not hold a token: one line of letters, digits and signs.")
    return token
