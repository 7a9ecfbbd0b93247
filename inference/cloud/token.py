"""The access token of the HTTP API: generated at random and shown once; AWS stores only its hash."""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hybrid_batch.data.errors import StorageFailed

_BYTES = 32


def new_token() -> str:
    """256 random bits as URL-safe text."""
    return secrets.token_urlsafe(_BYTES)


def token_hash(token: str) -> str:
    """The SHA-256 of the token in hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


@contextmanager
def replace_token_file(path: Path, token: str, notify: Callable[[str], None]) -> Iterator[None]:
    """Write the token to a file before the block that activates it.

    If the block fails, the previous token may still be the active one: it is kept in `PATH.before`, as `notify`
    reports. Raises StorageFailed."""
    before = path.with_name(f"{path.name}.before")
    existed = path.is_file()
    if existed:
        with _writing(path):
            path.replace(before)
    write_token(path, token)
    try:
        yield
    except BaseException:
        if existed:
            notify(f"the previous token is in {before}")
        raise
    if existed:
        before.unlink()


def write_token(path: Path, token: str) -> None:
    """Write the token to a file with mode 600. Raises StorageFailed."""
    with _writing(path), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)  # an existing file may be readable to others
        file.write(token + "\n")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"Cannot write the token to {path}: {error.strerror or error}; choose another file."
        ) from error
