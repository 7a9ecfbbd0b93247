"""Files of settings and tokens: read only if no user but the owner and the administrator can write them."""

import os
import stat
from pathlib import Path

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.storage.text_file import LIMIT_BYTES, decode_text

_FOLDER = "hybrid-batch"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


def user_folder() -> Path | None:
    """The user's configuration folder: `$XDG_CONFIG_HOME/hybrid-batch`, else `~/.config/hybrid-batch`.

    None if neither is an absolute path. A relative one would be below the working folder; the XDG specification ignores
    it too."""
    root = os.environ.get("XDG_CONFIG_HOME", "")
    if not Path(root).is_absolute():
        root = str(Path(os.path.expanduser("~"), ".config"))  # noqa: PTH111 - Path.expanduser raises without a home
    return Path(root, _FOLDER) if Path(root).is_absolute() else None


def read_user_file(path: Path, content: str) -> str | None:
    """The text of a file of the user; None if it does not exist. `content` names what it holds, for messages.

    Raises WrongUsage if it is not a regular file of at most 1 MiB of UTF-8, or if it or its folder belongs to another
    user or can be written by others. It may be a symbolic link, whose target and its folder are checked."""
    real = Path(os.path.realpath(path))
    text = _read(real, path, content, (0, os.geteuid()), _OTHERS_WRITE)
    if text is not None:
        _check_owner(real.parent, path.parent, real.parent.stat(), (0, os.geteuid()), _OTHERS_WRITE)
    return text


def read_folder_file(path: Path, content: str) -> str | None:
    """The text of a file of the working folder; None if it does not exist.

    Raises WrongUsage if it is not a regular file of at most 1 MiB of UTF-8, if it is a symbolic link, or if it belongs
    neither to the user, nor to the administrator, nor to the owner of the folder."""
    if path.is_symlink():
        raise WrongUsage(f"{path} is a symbolic link, which may name any file; put a regular file in its place.")
    return _read(path, path, content, (0, os.geteuid(), path.absolute().parent.stat().st_uid), 0)


def can_others_read(path: Path) -> bool:
    """Whether a regular file can be read by users other than its owner."""
    state = path.stat()
    return stat.S_ISREG(state.st_mode) and bool(state.st_mode & _OTHERS_READ)


def _read(path: Path, shown: Path, content: str, owners: tuple[int, ...], forbidden: int) -> str | None:
    """The text of the file at `path`, opened without waiting for a writer of a pipe. None if it does not exist."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(shown, content, error.strerror or str(error)) from error
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            reason = "Is a directory" if stat.S_ISDIR(state.st_mode) else "it is not a regular file"
            raise _unreadable(shown, content, reason)
        _check_owner(path, shown, state, owners, forbidden)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return decode_text(file.read(LIMIT_BYTES + 1), shown, content)
    finally:
        os.close(descriptor)


def _check_owner(path: Path, shown: Path, state: os.stat_result, owners: tuple[int, ...], forbidden: int) -> None:
    if state.st_uid not in owners:
        raise WrongUsage(
            f"{shown} belongs to another user (id {state.st_uid}), who can change it; change its owner or delete it."
        )
    if state.st_mode & forbidden:
        raise WrongUsage(f"{shown} can be written by other users; run `chmod go-w {path}`.")


def _unreadable(shown: Path, content: str, reason: str) -> WrongUsage:
    return WrongUsage(f"Cannot read the {content} in {shown}: {reason}; check the path.")
