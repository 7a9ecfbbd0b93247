"""The token that opens the HTTP API: random, seen once by whoever deploys; AWS knows its hash only."""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hybrid_batch.data.errors import StorageFailed

_BYTES = 32


def new_token() -> str:
    """256 random bits, as text that goes into a header and a shell."""
    return secrets.token_urlsafe(_BYTES)


def token_hash(token: str) -> str:
    """The SHA-256 in hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


@contextmanager
def replacing(path: Path, token: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Write the token into a file for the block that makes it good. What stood there stays beside it, which is told,
    where the block fails: then that may be the good one. Raises StorageFailed."""
    before = path.with_name(f"{path.name}.before")
    stood = path.is_file()
    if stood:
        with _writing(path):
            path.replace(before)
    write_token(path, token)
    try:
        yield
    except BaseException:
        if stood:
            tell(f"the token of before is in {before}")
        raise
    if stood:
        before.unlink()


def write_token(path: Path, token: str) -> None:
    """Put the token into a file that only its owner may read. Raises StorageFailed."""
    with _writing(path), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)  # it may have stood there, open to others
        file.write(token + "\n")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"Cannot write the token to {path}: {error.strerror or error}; give another file."
        ) from error
