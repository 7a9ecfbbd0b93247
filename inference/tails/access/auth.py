"""Authentication of requests to a tail behind HTTP: bearer token, user name and password, or AWS signature."""

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import unquote_to_bytes

from urllib3.util import Url

from hybrid_batch.data.aws.session import aws_session
from hybrid_batch.data.errors import TailRefused, WrongUsage, one_line
from hybrid_batch.inference.tails.access.tokens import find_token

_GATEWAYS = {
    "execute-api": re.compile(r"[a-z0-9-]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?"),
    "lambda": re.compile(r"[a-z0-9-]+\.lambda-url\.([a-z0-9-]+)\.on\.aws"),
}
_LOOPBACK = re.compile(r"(?:.+\.)?localhost|127\.0\.0\.1|\[::1\]")


class Auth(Protocol):
    """Authenticates requests. Thread-safe."""

    def headers(self, method: str, url: str, content: bytes) -> Mapping[str, str]:
        """The headers that authenticate a request. Raises TailRefused."""
        ...


class BearerAuth:
    """Sends a bearer token with every request."""

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}

    def headers(self, method: str, url: str, content: bytes) -> Mapping[str, str]:
        """See Auth."""
        return self._headers


class BasicAuth:
    """Sends a user name and a password with every request."""

    def __init__(self, auth: str) -> None:
        self._headers = {"Authorization": basic_credentials(auth)}

    def headers(self, method: str, url: str, content: bytes) -> Mapping[str, str]:
        """See Auth."""
        return self._headers


class SigV4Auth:
    """Signs every request and its body with AWS Signature Version 4, using the credentials that the AWS variables and
    files hold at that moment. Without credentials the request is sent unsigned, as public gateways accept it. Raises
    TailRefused for unusable AWS settings."""

    def __init__(self, service: str, region: str) -> None:
        from botocore.exceptions import BotoCoreError

        self._service, self._region = service, region
        try:
            self._credentials = aws_session().get_credentials()
        except BotoCoreError as error:
            raise _signing_failed(error) from error

    def headers(self, method: str, url: str, content: bytes) -> Mapping[str, str]:
        """See Auth."""
        from botocore import auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        if self._credentials is None:
            return {}
        signed = AWSRequest(method, url, data=content)
        try:
            auth.SigV4Auth(self._credentials.get_frozen_credentials(), self._service, self._region).add_auth(signed)
        except BotoCoreError as error:
            raise _signing_failed(error) from error
        return dict(signed.headers)


def find_auth(url: Url, token_file: str | None) -> Auth | None:
    """The authentication for the tail at a URL: its token (see find_token), else an AWS signature for an address of an
    AWS gateway, else the user name and password in the URL, else none. Raises WrongUsage for an unusable token and for
    a secret that would be sent unencrypted, TailRefused for unusable AWS settings."""
    token = find_token(url, token_file)
    secret = "token" if token is not None else "password" if url.auth else None
    if secret is not None and url.scheme != "https" and not is_loopback(url):
        raise WrongUsage(f"Refusing to send the {secret} to {url.host} unencrypted; use https://, or give no {secret}.")
    if token is not None:
        return BearerAuth(token)
    for service, pattern in _GATEWAYS.items():
        if url.scheme == "https" and (found := pattern.fullmatch(url.host or "")):
            return SigV4Auth(service, found[1])
    return BasicAuth(url.auth) if url.auth else None


def basic_credentials(auth: str) -> str:
    """The value of an Authorization header for `USER:PASSWORD`, percent-encoded as in a URL."""
    return f"Basic {b64encode(unquote_to_bytes(auth)).decode()}"


def is_loopback(url: Url) -> bool:
    """Whether a URL is one of this machine's loopback addresses."""
    return _LOOPBACK.fullmatch(url.host or "") is not None


def _signing_failed(error: Exception) -> TailRefused:
    return TailRefused(f"Requests cannot be signed ({one_line(error)}); correct or renew the AWS credentials.")
