"""The tokens of tails behind HTTP: each belongs to one host, and is sent to no other.

`credentials.toml` in the user's configuration folder lists the tokens by host:

    ["tail.example.com"]
    token-file = "tail.token"

    ["tail.example.com:8443"]
    token = "…"
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from urllib3.util import Url

from hybrid_batch.data.errors import WrongUsage, one_line
from hybrid_batch.data.storage.private_file import can_others_read, read_user_file, user_folder

TOKEN_VARIABLE = "HYBRID_BATCH_TAIL_TOKEN"  # noqa: S105 - its name
CREDENTIALS_FILE = "credentials.toml"
_MAX_LENGTH = 4096
_TOKEN = re.compile(rf"(?=.{{1,{_MAX_LENGTH}}}\Z)[A-Za-z0-9._~+/-]+=*", re.ASCII)  # b64token of RFC 6750, section 2.1
_PORTS = {"http": 80, "https": 443}
_HTTPS_PORT = ":443"
_KEYS = ("token", "token-file")


def find_token(url: Url, token_file: str | None) -> str | None:
    """The token for the tail at a URL: that of the given file, else the one listed for its host, else the one in
    HYBRID_BATCH_TAIL_TOKEN, else None.

    Raises WrongUsage for a file or variable without a token, for a list that others can read or write, and for a token
    that the list gives to other hosts only."""
    listed, host = _read_credentials(), host_of(url)
    if token_file is not None:
        token = _read_token(Path(token_file), f"The token file {token_file}")
    elif host in listed:
        return _listed_token(listed[host], host)
    elif (variable := os.environ.get(TOKEN_VARIABLE)) is not None:
        token = _check_token(variable, f"The variable {TOKEN_VARIABLE}")
    else:
        return None
    if owner := next(_owners(token, listed, host), None):
        raise WrongUsage(
            f"Refusing to send the token of {owner} to {host}; give the token of {host}, or list it in {_path()}."
        )
    return token


def is_listed(url: Url) -> bool:
    """Whether the user's list has a token for the host of a URL. Raises WrongUsage for an unusable list."""
    return host_of(url) in _read_credentials()


def host_of(url: Url) -> str:
    """The host that a token belongs to: in small letters, with the port except for the 443 of https."""
    host = f"{url.host}:{url.port or _PORTS.get(url.scheme or '')}".lower()
    return host.removesuffix(_HTTPS_PORT) if url.scheme == "https" else host


def _path() -> Path | None:
    folder = user_folder()
    return None if folder is None else folder / CREDENTIALS_FILE


def _read_credentials() -> dict[str, Mapping[str, str]]:
    """The user's list by host; empty without a file. Raises WrongUsage."""
    path = _path()
    text = None if path is None else read_user_file(path, "tokens")
    if path is None or text is None:
        return {}
    import tomllib

    if can_others_read(path):
        raise WrongUsage(f"{path} can be read by other users; run `chmod 600 {path}`.")
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise WrongUsage(f"{path} is not valid TOML: {one_line(error)}.") from error
    return {host.lower().removesuffix(_HTTPS_PORT): _check_entry(entry, host, path) for host, entry in content.items()}


def _check_entry(entry: Any, host: str, path: Path) -> Mapping[str, str]:  # noqa: ANN401
    if (
        not isinstance(entry, dict)
        or len(entry) != 1
        or not all(key in _KEYS and isinstance(value, str) for key, value in entry.items())
    ):
        raise WrongUsage(f'{path} has no token for {host!r}; write ["{host}"] and below it token-file = "FILE".')
    return entry


def _listed_token(entry: Mapping[str, str], host: str) -> str:
    folder = user_folder()
    if "token" in entry or folder is None:
        return _check_token(entry.get("token", ""), f"The entry of {host} in {_path()}")
    file = folder / Path(entry["token-file"]).expanduser()
    token = _read_token(file, f"The token file {file}")
    if can_others_read(file):
        raise WrongUsage(f"{file} can be read by other users; run `chmod 600 {file}`.")
    return token


def _owners(token: str, listed: Mapping[str, Mapping[str, str]], host: str) -> Iterator[str]:
    """The other hosts for which the list has this token."""
    for other, entry in listed.items():
        if other != host and _listed_token(entry, other) == token:
            yield other


def _read_token(path: Path, source: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_LENGTH + 3)
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{source} cannot be read ({getattr(error, 'strerror', None) or 'not text'}).") from error
    return _check_token(text, source)


def _check_token(text: str, source: str) -> str:
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise WrongUsage(
            f"{source} does not hold a token; give one line of at most {_MAX_LENGTH} letters, digits and -._~+/, with "
            "= at the end only."
        )
    return token
