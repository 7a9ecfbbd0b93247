"""Thumbnails of the images of runs, for the galleries of a report."""

import io
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import PurePosixPath

from hybrid_batch.data.errors import HybridBatchError, WrongUsage
from hybrid_batch.data.storage.file_names import to_file_name
from hybrid_batch.data.storage.local_storage import LocalStorage
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.data.storage.storage import Storage

SIZE = 128
IMAGE_BYTES = 50_000_000
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def thumbnail_loader(roots: Iterable[str]) -> Callable[[str], bytes | None]:
    """A function from the name of an image to its center as a WebP of `SIZE` x `SIZE` pixels, or None where the image
    is not available.

    `roots` are folders or s3:// prefixes of the user, never of a log. The names come from a log, which may be a
    stranger's: only regular files below a root are read, and a symbolic link must not leave it.
    """
    storages = list(_open(roots))

    def thumbnail(image: str) -> bytes | None:
        path = PurePosixPath(image)
        if path.is_absolute() or ".." in path.parts or "\0" in image or not path.parts:
            return None
        for storage in storages:
            try:
                return _shrink(_read(storage, image))
            except (OSError, HybridBatchError, ValueError):  # missing, unreachable, or not an image
                continue
        return None

    return thumbnail


def _open(roots: Iterable[str]) -> Iterable[Storage]:
    for root in dict.fromkeys(roots):
        with suppress(WrongUsage):  # a location that only the run's machine can open
            yield open_storage(root)


def _read(storage: Storage, image: str) -> bytes:
    """The file of an image. Raises OSError and StorageFailed."""
    if not isinstance(storage, LocalStorage):
        return storage.read(image, IMAGE_BYTES)
    root = os.path.realpath(storage.folder)
    for name in dict.fromkeys((to_file_name(image), image)):  # logs before escapes of '\\' have the second
        path = os.path.realpath(os.path.join(root, name))  # noqa: PTH118 - names that are not UTF-8
        if os.path.commonpath((root, path)) == root and os.path.lexists(path):
            return _read_regular(path)
    raise FileNotFoundError(image)


def _read_regular(path: str) -> bytes:
    """The content of a regular file, without following a link that replaced it. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > IMAGE_BYTES:
            raise OSError(f"{path} is not a regular file of at most {IMAGE_BYTES:,} bytes")
        return file.read(IMAGE_BYTES)


def _shrink(data: bytes) -> bytes:
    """A thumbnail of an encoded image. Raises UndecodableImage, which is a ValueError."""
    import numpy as np
    from PIL import Image

    from hybrid_batch.data.images.decode import Preprocessing, UndecodableImage, decode

    square = Preprocessing(SIZE, SIZE, resize="crop")
    try:
        pixels = decode(data, square)
    except UndecodableImage:
        if not data.startswith(_JPEG_START):
            raise
        pixels = decode(data + _JPEG_END, square)  # the decoded part of a truncated file, and grey below it
    target = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8)).save(target, "WEBP", quality=80)
    return target.getvalue()
