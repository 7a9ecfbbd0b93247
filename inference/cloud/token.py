"""The token that opens the HTTP API: random, seen once by whoever deploys; AWS knows its hash only."""

import hashlib
import os
import secrets
from pathlib import Path

from data.errors import StorageFailed

_BYTES = 32


def new_token() -> str:
    """256 random bits, as text that goes into a header and a shell."""
    return secrets.token_urlsafe(_BYTES)


def token_hash(token: str) -> str:
    """The SHA-256 in hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def write_token(path: Path, token: str) -> None:
    """Put the token into a file that only its owner may read. Raises StorageFailed."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o600)  # it may have stood there, open to others
            file.write(token + "\n")
    except OSError as error:
        raise StorageFailed(
            f"Cannot write the token to {path}: {error.strerror or error}; give another file."
        ) from error
