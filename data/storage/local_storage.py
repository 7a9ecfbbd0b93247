"""The storage of a local folder."""

import errno
import heapq
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_batch.data.errors import StorageFailed, TooLarge
from hybrid_batch.data.storage.file_names import to_file_name, to_text
from hybrid_batch.data.storage.storage import Entry, Unlisted
from hybrid_batch.data.storage.temporary_files import lock, remove_abandoned

if TYPE_CHECKING:
    import pyarrow as pa

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file would be larger than the system allows; raise the limit (`ulimit -f`)",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission denied; change the permissions or choose another folder",
    errno.EPERM: "the file system does not allow it (hard links are needed); choose another folder",
    errno.EOPNOTSUPP: "the file system has no hard links; choose another folder",
    errno.EEXIST: "a file or folder of another kind has that name; choose another folder",
    errno.ENOTDIR: "a file has the name of a needed folder; choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{16}")
_swept: set[Path] = set()  # the folders to which this process has written


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """The storage of `folder`; `uri` is the path as the user wrote it.

    `inside` are the folders of `folder` below the one that the user named. The named one may be a symbolic link; below
    it no link is followed to write or delete, because the content of a log may be a stranger's."""

    folder: Path
    uri: str
    inside: tuple[str, ...] = ()

    def read(self, name: str, limit: int | None = None) -> bytes:
        path = self._path(name)
        with _reading(path), open(path, "rb", buffering=0, opener=_open_unblocked) as file:
            status = _status(path, file.fileno())
            if limit is not None and status.st_size > limit:
                raise TooLarge(f"{path} has {status.st_size} bytes; at most {limit} are allowed.")
            return file.read() if limit is None else file.read(status.st_size)

    def open_input_file(self, name: str) -> "pa.NativeFile":
        import pyarrow as pa

        path = self._path(name)
        with _reading(path):
            _status(path, path)
            return pa.OSFile(path)

    def write_once(self, name: str, data: bytes) -> bool:
        self._refuse_links("write", name)
        path = self.folder / name
        try:
            _write(path, data, os.link)
        except OSError as error:
            if isinstance(error, FileExistsError) and path.is_file():
                return False
            raise _failure("write", path, error) from error
        return True

    def replace(self, name: str, data: bytes) -> None:
        self._refuse_links("write", name)
        path = self.folder / name
        try:
            _write(path, data, os.replace)
        except OSError as error:
            raise _failure("write", path, error) from error

    def remove(self, *names: str) -> None:
        for name in names:
            self._refuse_links("delete", name)
        for name in names:
            path = Path(self._path(name))
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise _failure("delete", path, error) from error

    def list_files(self, prefix: str = "", unlisted: Unlisted | None = None) -> Iterator[Entry]:
        # Symlinked folders are visited after all real folders, and each real folder once. So a loop ends, and a file
        # that is reachable twice has one name, independent of the file system's order.
        seen: set[tuple[int, int]] = set()
        waiting: list[tuple[bool, str]] = [(False, "")]
        while waiting:
            _, inside = heapq.heappop(waiting)
            folder = Path(self._path(inside)) if inside else self.folder
            try:
                status = folder.stat()
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as children:
                    for child in children:
                        name = inside + to_text(child.name)
                        if _is_folder(child):
                            if f"{name}/".startswith(prefix) or prefix.startswith(f"{name}/"):
                                heapq.heappush(waiting, (child.is_symlink(), f"{name}/"))
                        elif name.startswith(prefix):
                            if (size := _size(child)) is not None:
                                yield Entry(name, size)
                            elif unlisted is not None:
                                unlisted.special_files += 1
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if unlisted is None or not inside:
                    raise _failure("list", folder, error) from error
                unlisted.folders[inside.rstrip("/")] = str(_failure("list", folder, error))

    def child(self, name: str) -> "LocalStorage":
        return LocalStorage(self.folder / name, f"{self.uri.rstrip('/')}/{name}", (*self.inside, *Path(name).parts))

    def _refuse_links(self, verb: str, name: str) -> None:
        """Raise StorageFailed if a folder of the file, below the one that the user named, is a symbolic link."""
        above = Path(*self.folder.parts[: len(self.folder.parts) - len(self.inside)])
        for part in (*self.inside, *Path(name).parts[:-1]):
            above /= part
            if above.is_symlink():
                raise StorageFailed(
                    f"Cannot {verb} {self.folder / name}: {above} is a symbolic link, and nothing is written or "
                    "deleted through a link in a log; remove the link, or name another folder."
                )

    def _path(self, name: str) -> str:
        path = f"{self.folder}/{to_file_name(name)}"
        if "\\x" in name and not os.path.lexists(path):  # a name from a log before escapes of '\\'
            return f"{self.folder}/{name}"
        return path


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(errno.ENOENT, "No such file", path) from error
    except OSError as error:
        raise _failure("read", Path(path), error) from error


def _status(path: str, opened: int | str) -> os.stat_result:
    """Return the status of a path or descriptor. Raises StorageFailed unless it is a regular file."""
    status = os.stat(opened)  # noqa: PTH116 - takes descriptors too
    if not stat.S_ISREG(status.st_mode):
        raise StorageFailed(f"Cannot read {path}: it is not a regular file; choose another.")
    return status


def _write(path: Path, data: bytes, put: Callable[[Path, Path], None]) -> None:
    """Write the data to a temporary file, sync it, and `put` it at `path` (os.link or os.replace). Temporary files of
    killed processes are removed: with the first file that this process writes to a folder, and with each replaced
    one, such as the last of a run."""
    temporary = path.with_name(f".tmp-{secrets.token_hex(8)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("xb") as file:
            lock(file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if put is os.replace or path.parent not in _swept:
                _swept.add(path.parent)
                remove_abandoned(path.parent, _TEMPORARY, os.fstat(file.fileno()).st_mtime)
            put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _is_folder(child: os.DirEntry[str]) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link to itself, or into a forbidden folder
        return False


def _open_unblocked(path: str, flags: int) -> int:
    """Open a file; a named pipe must not block until a writer opens it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _size(child: os.DirEntry[str]) -> int | None:
    """Return the size in bytes of a regular file; None for pipes, devices and files deleted meanwhile. A broken
    symlink has size 0: it is listed, so that reading it reports an error."""
    try:
        status = child.stat()
    except OSError:
        return 0 if child.is_symlink() else None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failure(verb: str, path: Path, error: OSError) -> StorageFailed:
    reason = _ADVICE.get(error.errno or 0, f"{error.strerror or error}; check the disk and the path")
    return StorageFailed(f"Cannot {verb} {path}: {reason}.")
