"""Small pictures of the images of runs, for the gallery of a report."""

import io
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import PurePosixPath

from hybrid_batch.data.errors import HybridBatchError, WrongUsage
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.storage import Storage, open_storage

SIZE = 128
IMAGE_BYTES = 50_000_000


def thumbnails(runs: Iterable[str], images: str | None = None) -> Callable[[str], bytes | None]:
    """A function from the name of an image to its middle as a WebP of `SIZE` pixels, None where it cannot be had.

    Looked for where the runs found their images, or else in the place `images`.
    """
    roots = [open_storage(images)] if images else list(_roots(runs))

    def thumbnail(image: str) -> bytes | None:
        path = PurePosixPath(image)
        if path.is_absolute() or ".." in path.parts:  # names come from a log, which may be anybody's
            return None
        for root in roots:
            try:
                return _shrink(root.read(image, IMAGE_BYTES))
            except (FileNotFoundError, HybridBatchError, ValueError):  # gone, out of reach, no image
                continue
        return None

    return thumbnail


def _roots(runs: Iterable[str]) -> Iterable[Storage]:
    for place in dict.fromkeys(RunFolder(open_storage(run)).settings().get("images") for run in runs):
        with suppress(WrongUsage):  # a place that only the machine of the run could open
            if isinstance(place, str):
                yield open_storage(place)


def _shrink(data: bytes) -> bytes:
    """Raises CannotDecode, which is a ValueError."""
    import numpy as np
    from PIL import Image

    from hybrid_batch.data.images.decode import Preparation, decode

    pixels = decode(data, Preparation(SIZE, SIZE, resize="crop"))
    target = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8)).save(target, "WEBP", quality=80)
    return target.getvalue()
