"""The tokens that a server accepts, read from a file. Only their SHA-256 hashes are kept."""

import hashlib
import hmac
import os
import re
import stat
from dataclasses import dataclass

from hybrid_batch.data.errors import WrongUsage

_MAX_FILE_BYTES, _MAX_TOKENS, _MIN_LENGTH, _MAX_LENGTH = 1 << 20, 1000, 16, 4096
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class _Token:
    name: str
    sha256: bytes


class TokenFile:
    """The tokens in a file, one a line: `TOKEN`, `NAME TOKEN`, or in place of a token `sha256:` and the hexadecimal
    SHA-256 of one. Empty lines and lines that start with # are ignored. Raises WrongUsage for a file that cannot be
    read, that all users of the system can read or write, or that holds no token or a line of another form."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._tokens = _read(path)

    def reload(self) -> None:
        """Read the file again. Raises WrongUsage and keeps the present tokens if it is not valid."""
        self._tokens = _read(self._path)

    def find(self, token: str) -> str | None:
        """The name of a token: that of its line, or the beginning of its hash. None if the file does not hold it. The
        time taken depends on the number of tokens alone."""
        presented = hashlib.sha256(token.encode("latin-1", "replace")).digest()
        found = None
        for known in self._tokens:
            if hmac.compare_digest(known.sha256, presented):
                found = known.name
        return found


def check_private(path: str, mode: int) -> None:
    """Raises WrongUsage if all users of the system can read or write a file of secrets with this mode."""
    if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
        raise WrongUsage(
            f"All users of this system can access {path} (mode {stat.S_IMODE(mode):o}); run `chmod 600 {path}`."
        )


def _read(path: str) -> tuple[_Token, ...]:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):  # SIGHUP could not read a pipe again
                raise WrongUsage(f"The token file {path} is not a regular file.")
            check_private(path, mode)
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise WrongUsage(f"The token file {path} cannot be read ({error.strerror}).") from error
    if len(content) > _MAX_FILE_BYTES:
        raise WrongUsage(f"The token file {path} is larger than {_MAX_FILE_BYTES} bytes.")
    lines = [(number, line.split()) for number, line in enumerate(content.splitlines(), 1)]
    tokens = tuple(_parse(path, number, words) for number, words in lines if words and not words[0].startswith(b"#"))
    if not tokens:
        raise WrongUsage(f"The token file {path} holds no token; give one token on each line.")
    if len(tokens) > _MAX_TOKENS:
        raise WrongUsage(f"The token file {path} holds {len(tokens)} tokens; the limit is {_MAX_TOKENS}.")
    return tokens


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the writer of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _parse(path: str, number: int, words: list[bytes]) -> _Token:
    """The token of a line. The message never quotes the line, which may be a secret."""
    token = words[-1].decode("latin-1")
    is_printable = all(word.decode("latin-1").isascii() and word.decode("latin-1").isprintable() for word in words)
    if found := _HASH.fullmatch(token):
        digest = bytes.fromhex(found[1])
    else:
        digest = hashlib.sha256(token.encode("latin-1")).digest()
        if not _MIN_LENGTH <= len(token) <= _MAX_LENGTH:
            is_printable = False
    if len(words) > 2 or not is_printable:
        raise WrongUsage(
            f"Line {number} of the token file {path} holds no token; write TOKEN or NAME TOKEN, where TOKEN has "
            f"{_MIN_LENGTH} to {_MAX_LENGTH} printable ASCII characters or is sha256: and 64 hexadecimal digits."
        )
    return _Token(words[0].decode("ascii") if len(words) == 2 else digest.hex()[:12], digest)
