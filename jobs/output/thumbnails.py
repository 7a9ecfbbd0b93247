"""Thumbnails of the images of runs, for the galleries of a report."""

import io
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import PurePosixPath

from hybrid_batch.data.errors import HybridBatchError, WrongUsage
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.data.storage.storage import Storage

SIZE = 128
IMAGE_BYTES = 50_000_000
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def thumbnail_loader(runs: Iterable[str], images: str | None = None) -> Callable[[str], bytes | None]:
    """A function from the name of an image to its center as a WebP of `SIZE` x `SIZE` pixels, or None where the image
    is not available.

    Images are read from the folder `images`, by default from the folders of the runs.
    """
    roots = [open_storage(images)] if images else list(_roots(runs))

    def thumbnail(image: str) -> bytes | None:
        path = PurePosixPath(image)
        if path.is_absolute() or ".." in path.parts:  # a log from another author may name any file
            return None
        for root in roots:
            try:
                return _shrink(root.read(image, IMAGE_BYTES))
            except (FileNotFoundError, HybridBatchError, ValueError):  # missing, unreachable, or not an image
                continue
        return None

    return thumbnail


def _roots(runs: Iterable[str]) -> Iterable[Storage]:
    for folder in dict.fromkeys(RunFolder(open_storage(run)).settings().get("images") for run in runs):
        with suppress(WrongUsage):  # a location that only the run's machine can open
            if isinstance(folder, str):
                yield open_storage(folder)


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
