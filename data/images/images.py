"""The images that a run classifies, listed by name without opening them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from posixpath import splitext
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.errors import NoImages
from hybrid_batch.data.images.sources import is_plain, select_files
from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.data.storage.open_storage import open_file, open_storage
from hybrid_batch.data.storage.storage import Entry, Storage, Unlisted

IMAGES_SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("size", pa.int64(), nullable=False),
    ]
)

# Suffixes of files that are not images. All other files count: images have many suffixes, or none.
_OTHERS = """
    .7z .bz2 .gz .lock .rar .tar .tgz .xz .zip .zst
    .cfg .conf .csv .db .ini .json .jsonl .log .parquet .pq .sqlite .toml .tsv .xml .yaml .yml
    .doc .docx .htm .html .md .odt .pdf .ppt .pptx .rst .txt .xls .xlsx
    .h5 .hdf5 .ipynb .js .keras .mat .npy .npz .onnx .pickle .pkl .pt .py .pyc .sh .tflite .tfrecord
    .3gp .aac .avi .flac .m4a .m4v .mkv .mov .mp3 .mp4 .mpeg .mpg .ogg .wav .webm .wmv
"""
_OTHER_SUFFIXES = frozenset(_OTHERS.split())
_NAMED_SUFFIXES = 4  # in the summary
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class SkippedFiles:
    """The files below the root that are not images: numbers of hidden files, of files of each other suffix, of files
    of runs, and of pipes, sockets and devices. `unreadable_folders` maps a folder to the reason, in one sentence."""

    hidden: int = 0
    suffixes: Mapping[str, int] = field(default_factory=dict)
    logs: int = 0
    special: int = 0
    unreadable_folders: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object of what is not zero."""
        return {name: value for name, value in asdict(self).items() if value}

    def __str__(self) -> str:
        """The numbers for a person, such as "3 hidden files, 1 unreadable folder"; empty without any."""
        by_number = sorted(self.suffixes.items(), key=lambda entry: (-entry[1], entry[0]))
        named = ", ".join(f"{suffix} {count:,}" for suffix, count in by_number[:_NAMED_SUFFIXES])
        counts = (
            (self.hidden, "hidden file", "hidden files"),
            (sum(self.suffixes.values()), f"file of another kind ({named})", f"files of another kind ({named})"),
            (self.logs, "file of a log", "files of a log"),
            (self.special, "special file", "special files"),
            (len(self.unreadable_folders), "unreadable folder", "unreadable folders"),
        )
        return ", ".join(f"{count:,} {one if count == 1 else several}" for count, one, several in counts if count)


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images as a table of IMAGES_SCHEMA, sorted by the bytes of their names, and their storage.

    `label_source` is the record's: "folder", "csv", or None for images without labels. `skipped` counts the files that
    are not among the images."""

    root: Storage
    table: pa.Table
    label_source: str | None = None
    skipped: SkippedFiles = field(default_factory=SkippedFiles)


def find_images(sources: str | Sequence[str]) -> ImageSet:
    """The images at any depth below a folder or an `s3://` prefix, the one image at a path, or those of several paths,
    patterns and lists of files as in `select_files`.

    Every file counts, except hidden ones (a part of the name begins with '.'), logs of runs (with 'run=') and those
    with a suffix known to be no image's. Held as columns: a million names are some 40 MB. Sub-folders that cannot be
    read are in `skipped`. Raises NoImages, WrongUsage and StorageFailed."""
    sources = (sources,) if isinstance(sources, str) else tuple(sources)
    if len(sources) == 1 and is_plain(sources[0]):
        return _find_below(sources[0])
    selected = select_files(sources)
    table, skipped = _collect(selected.entries, selected.unlisted)
    if not table.num_rows:
        raise NoImages(f"No images in {' '.join(map(repr, sources[:3]))}, only {skipped}; give images.")
    return ImageSet(selected.root, table, skipped=skipped)


def _find_below(uri: str) -> ImageSet:
    root, unlisted = open_storage(uri), Unlisted()
    table, skipped = _collect(root.list_files(unlisted=unlisted), unlisted)
    if table.num_rows:
        return ImageSet(root, table, skipped=skipped)
    if str(skipped):
        raise NoImages(f"No images in {uri!r}, only {skipped}; give a folder of images.")
    parent, name = open_file(uri)
    for entry in parent.list_files(name):
        if entry.name == name and _other_suffix(name):
            raise NoImages(f"{uri!r} is not an image; give a folder or an image, or @{uri} for a list of files.")
        if entry.name == name:
            return ImageSet(parent, _table([name], [entry.size]))
    if isinstance(root, LocalStorage) and root.folder.is_dir():
        raise NoImages(f"The folder {uri!r} is empty; give a folder of images.")
    raise NoImages(f"No folder {uri!r}; give a folder of images, or s3://bucket/prefix.")


def _collect(entries: Iterable[Entry], unlisted: Unlisted) -> tuple[pa.Table, SkippedFiles]:
    """The images among the entries, sorted, and the numbers of the others; `unlisted` is complete after the entries."""
    names: list[str] = []
    sizes: list[int] = []
    chunks: list[pa.Table] = []
    hidden, logs, suffixes = 0, 0, Counter[str]()
    for entry in entries:
        if _is_hidden(entry.name):
            hidden += 1
        elif "/run=" in f"/{entry.name}":
            logs += 1
        elif suffix := _other_suffix(entry.name):
            suffixes[suffix] += 1
        else:
            names.append(entry.name)
            sizes.append(entry.size)
        if len(names) == _CHUNK:
            chunks.append(_table(names, sizes))
            names, sizes = [], []
    table = pa.concat_tables([*chunks, _table(names, sizes)])
    skipped = SkippedFiles(hidden, dict(suffixes), logs, unlisted.special_files, unlisted.folders)
    return table.take(pc.sort_indices(table["image"])).combine_chunks(), skipped


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _other_suffix(name: str) -> str:
    """The suffix of a file of another kind, in lower case; empty for an image."""
    suffix = splitext(name)[1].lower()
    return suffix if suffix in _OTHER_SUFFIXES else ""


def _table(names: list[str], sizes: list[int]) -> pa.Table:
    return pa.table([names, pa.nulls(len(names), pa.string()), sizes], schema=IMAGES_SCHEMA)
