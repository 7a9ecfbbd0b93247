"""The images of a run compared with the hashes in its log: a file of equal name and size may have other content."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from hybrid_batch.data.errors import ImagesChanged, StorageFailed
from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.data.log.records import hash_image
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.storage import Storage
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.inference.runner.image_loader import IMAGE_LIMIT_BYTES

_NAMED = 5  # images in the message
_READERS = 8


def verify_images(folder: RunFolder, images: ImageSet) -> tuple[int, int]:
    """Compare the images of the records of a run. The numbers of those compared, and of records with an image but
    without a hash, which earlier versions wrote.

    Raises ImagesChanged for images with other content or that are gone, NotARun and StorageFailed. Writes nothing."""
    names = frozenset(images.table["image"].to_pylist())
    compared = unknown = 0
    changed: list[str] = []
    with ThreadPoolExecutor(max(_READERS, os.cpu_count() or 1)) as pool:
        for batch in _pairs(folder):
            known = [(name, hashed) for name, hashed in batch if hashed is not None and name in names]
            unknown += sum(hashed is None and name in names for name, hashed in batch)
            compared += len(known)
            same = pool.map(partial(_is_same, images.root), *zip(*known, strict=True)) if known else ()
            changed += [name for (name, _), is_same in zip(known, same, strict=True) if not is_same]
    if changed:
        count, verb = format_count(len(changed), "image"), "has" if len(changed) == 1 else "have"
        named = ", ".join(sorted(changed)[:_NAMED]) + (", …" if len(changed) > _NAMED else "")
        raise ImagesChanged(
            f"{count} of {folder.uri} {verb} changed since the classification ({named}); restore them, or classify all "
            "images again with another --run-id or with --overwrite."
        )
    return compared, unknown


def _pairs(folder: RunFolder) -> Iterator[list[tuple[str, str | None]]]:
    """The names and hashes of the images that were read, in batches."""
    for batch in folder.iter_records():
        columns = (batch[name].to_pylist() for name in ("image", "image_hash", "error"))
        yield [(name, hashed) for name, hashed, error in zip(*columns, strict=True) if hashed or not error]


def _is_same(root: Storage, name: str, hashed: str) -> bool:
    try:
        return hash_image(root.read(name, IMAGE_LIMIT_BYTES)) == hashed
    except FileNotFoundError:
        return False
    except StorageFailed:
        if not any(entry.name == name for entry in root.list_files(name)):
            raise  # the storage is unavailable
        return False
