"""The images below a folder or prefix, listed by name without opening them."""

from dataclasses import dataclass
from posixpath import splitext

import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.errors import NoImages
from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.data.storage.open_storage import open_file, open_storage
from hybrid_batch.data.storage.storage import Entry, Storage

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
    .cfg .conf .csv .db .ini .json .jsonl .log .parquet .sqlite .toml .tsv .xml .yaml .yml
    .doc .docx .htm .html .md .pdf .rst .txt .xls .xlsx
    .h5 .hdf5 .ipynb .js .keras .mat .npy .npz .pickle .pkl .pt .py .pyc .sh .tfrecord
"""
_OTHER_SUFFIXES = frozenset(_OTHERS.split())
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images as a table of IMAGES_SCHEMA, sorted by the bytes of their names, and their storage. `label_source` is the
    record's: "folder", "csv", or None for images without labels."""

    root: Storage
    table: pa.Table
    label_source: str | None = None


def find_images(uri: str) -> ImageSet:
    """The images at any depth below a folder or an `s3://` prefix, or the one image `place` is.

    Every file counts, except hidden ones (a part of the name begins with '.'), logs of runs (with 'run=') and those
    with a suffix known to be no image's. Held as columns: a million names are some 40 MB. Raises NoImages and
    StorageFailed."""
    root = open_storage(uri)
    names: list[str] = []
    sizes: list[int] = []
    chunks: list[pa.Table] = []
    others = 0
    for entry in root.list_files():
        if not is_image(entry):
            others += 1
            continue
        names.append(entry.name)
        sizes.append(entry.size)
        if len(names) == _CHUNK:
            chunks.append(_table(names, sizes))
            names, sizes = [], []
    table = pa.concat_tables([*chunks, _table(names, sizes)])
    if table.num_rows:
        return ImageSet(root, table.take(pc.sort_indices(table["image"])).combine_chunks())
    if others:
        raise NoImages(f"No images in {uri!r}, only {others} other files; give a folder of images.")
    parent, name = open_file(uri)
    for entry in parent.list_files(name):
        if entry.name == name:
            return ImageSet(parent, _table([name], [entry.size]))
    if isinstance(root, LocalStorage) and root.folder.is_dir():
        raise NoImages(f"The folder {uri!r} is empty; give a folder of images.")
    raise NoImages(f"No folder {uri!r}; give a folder of images, or s3://bucket/prefix.")


def is_image(entry: Entry) -> bool:
    """Return whether a file counts as an image, by its name alone."""
    name = f"/{entry.name}"
    hidden = "/." in name or "/run=" in name
    return not hidden and splitext(entry.name)[1].lower() not in _OTHER_SUFFIXES


def _table(names: list[str], sizes: list[int]) -> pa.Table:
    return pa.table([names, pa.nulls(len(names), pa.string()), sizes], schema=IMAGES_SCHEMA)
