"""The files that several paths, a pattern such as 'photos/**/*.jpg', or a list of files select, below one root."""

import os
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from hybrid_batch.data.errors import NoImages, WrongUsage
from hybrid_batch.data.storage.file_names import to_file_name, to_text
from hybrid_batch.data.storage.open_storage import open_file, open_storage
from hybrid_batch.data.storage.storage import Entry, Storage, Unlisted

_LIST_MARK = "@"
_STDIN = "@-"
_LARGEST_LIST = 1 << 30
_MAGIC = frozenset("*?[")
_S3 = "s3://"


@dataclass(frozen=True, slots=True)
class SelectedFiles:
    """Files below `root`, in the order of their selection and once each."""

    root: Storage
    entries: tuple[Entry, ...]
    unlisted: Unlisted


def is_plain(source: str) -> bool:
    """Whether a source is the path of one folder or file: neither a list nor a pattern."""
    if source.startswith(_LIST_MARK):
        return False
    return not _MAGIC & set(source) or _exists(source)


def select_files(sources: Sequence[str]) -> SelectedFiles:
    """The files that `sources` select.

    Each is the path of a file or folder, a pattern, or `@FILE`: a file with one path a line, `@-` for stdin. The root
    is the deepest folder that contains every folder and file named; a pattern names the folder before its wildcards.
    Raises NoImages for paths that do not exist and patterns without a file, WrongUsage for several buckets and for a
    mixture of S3 and local files, StorageFailed."""
    selection = _Selection()
    for source in sources:
        if source.startswith(_LIST_MARK):
            selection.add_paths(_read_list(source.removeprefix(_LIST_MARK)), source)
        elif is_plain(source):
            selection.add_paths([source], None)
        else:
            selection.add_pattern(source)
    return selection.files()


@dataclass(slots=True)
class _Selection:
    """Sizes of files by their full names, `/folder/name` or `bucket/key`; `roots` are full names of folders."""

    sizes: dict[str, int] = field(default_factory=dict)
    roots: set[str] = field(default_factory=set)
    unlisted: Unlisted = field(default_factory=Unlisted)
    on_s3: bool | None = None

    def add_paths(self, paths: Sequence[str], where: str | None) -> None:
        """Add files and folders; `where` is the list that names them."""
        missing = [path for path in paths if not self._add(path)]
        if not missing:
            return
        if where is None:
            raise NoImages(f"No file or folder {missing[0]!r}; give images, folders, or s3://bucket/prefix.")
        examples = ", ".join(map(repr, missing[:3]))
        count = "a file that does not exist" if len(missing) == 1 else f"{len(missing)} files that do not exist"
        name = "The list on stdin" if where == _STDIN else where.removeprefix(_LIST_MARK)
        raise NoImages(f"{name} names {count}, such as {examples}; write paths from the working folder.")

    def add_pattern(self, pattern: str) -> None:
        """Add what a shell would put in the place of a pattern: files, and folders with all their files."""
        parts = pattern.split("/")
        first = next(place for place, part in enumerate(parts) if _MAGIC & set(part))
        root, wanted = "/".join(parts[:first]) or ("/" if pattern.startswith("/") else "."), parts[first:]
        before = len(self.sizes)
        self._add_below(root, lambda name: _matches(name.split("/"), wanted))
        if len(self.sizes) == before:
            raise NoImages(f"No file matches {pattern!r}; ** matches folders at any depth.")

    def files(self) -> SelectedFiles:
        """The files, relative to the folder that contains all of them."""
        common = os.path.commonpath(self.roots) if self.roots else "."
        start = len(common.rstrip("/")) + 1
        entries = tuple(Entry(name[start:], size) for name, size in self.sizes.items())
        root = open_storage(_S3 + common if self.on_s3 else to_file_name(common))
        return SelectedFiles(root, entries, self.unlisted)

    def _add(self, path: str) -> bool:
        if path.startswith(_S3):
            return self._add_objects(path)
        path = open_path(path)
        try:
            status = os.stat(path)  # noqa: PTH116 - a million paths
        except OSError:
            return False
        if stat.S_ISDIR(status.st_mode):
            self._add_below(path, lambda _: True)
            return True
        full = _full_name(path)
        self._note_place(full.rpartition("/")[0] or "/", on_s3=False)
        if stat.S_ISREG(status.st_mode):
            self.sizes[full] = status.st_size
        else:
            self.unlisted.special_files += 1
        return True

    def _add_objects(self, uri: str) -> bool:
        """Add the object of this name, or all below it, by one listing."""
        storage, name = open_file(uri)
        found = {
            entry.name: entry.size
            for entry in storage.list_files(name)
            if entry.name == name or entry.name.startswith(f"{name}/")
        }
        folder = storage.uri.removeprefix(_S3)
        self._note_place(folder if name in found else f"{folder}/{name}", on_s3=True)
        self.sizes |= {f"{folder}/{name}": size for name, size in found.items()}
        return bool(found)

    def _add_below(self, folder: str, is_wanted: Callable[[str], bool]) -> None:
        storage, on_s3 = open_storage(folder), folder.startswith(_S3)
        full = storage.uri.removeprefix(_S3) if on_s3 else _full_name(folder)
        self._note_place(full, on_s3=on_s3)
        for entry in storage.list_files(unlisted=self.unlisted):
            if is_wanted(entry.name):
                self.sizes[f"{full.rstrip('/')}/{entry.name}"] = entry.size

    def _note_place(self, root: str, *, on_s3: bool) -> None:
        if self.on_s3 not in (None, on_s3):
            raise WrongUsage("Some images are on S3 and some are local; give them to two runs.")
        self.on_s3 = on_s3
        self.roots.add(root)
        if on_s3 and len({name.partition("/")[0] for name in self.roots}) > 1:
            raise WrongUsage("The images are in several buckets; give each bucket to a run of its own.")


def open_path(path: str) -> str:
    """A local path from a path or a `file://` URL."""
    return path.removeprefix("file://") if path.startswith("file:///") else path


def _full_name(path: str) -> str:
    return to_text(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps '..'


def _exists(source: str) -> bool:
    if source.startswith(_S3):
        return next(open_storage(source).list_files(), None) is not None
    return Path(open_path(source)).exists()


def _read_list(uri: str) -> list[str]:
    """The paths in a list of files, one a line. Bytes that are not UTF-8 are those of file names."""
    if uri == _STDIN.removeprefix(_LIST_MARK):
        content = sys.stdin.buffer.read() if sys.stdin else b""
    else:
        storage, name = open_file(uri)
        try:
            content = storage.read(name, _LARGEST_LIST)
        except FileNotFoundError as error:
            raise NoImages(f"No file {uri!r}; give @FILE with one image a line.") from error
    paths = [os.fsdecode(line) for line in content.splitlines() if line.strip()]
    if not paths:
        raise NoImages(f"The list {uri!r} is empty; write one image a line.")
    return paths


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the path of a file, or of a folder above it, matches a pattern."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
