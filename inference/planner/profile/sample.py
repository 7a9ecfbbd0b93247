"""A sample of images for measurements: the user's own, or a made-up one that compresses like a photograph."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.data.images.decode import Preprocessing, UndecodableImage, decode
from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH
from hybrid_batch.inference.planner.profile.profile import ImageStats
from hybrid_batch.inference.protocol import codecs

_MAX_IMAGES, _MAX_RECOMPRESSED = 16, 4
_MAX_FILE_BYTES = 16 << 20
_SYNTHETIC_SIZE = (375, 500)


@dataclass(frozen=True, slots=True)
class ImageSample:
    """Image files, their pixels (count, H, W, C) as the model's input, and statistics of both."""

    files: tuple[bytes, ...]
    pixels: np.ndarray
    stats: ImageStats


def take_sample(preprocessing: Preprocessing, images: ImageSet | None = None) -> ImageSample:
    """Take up to 16 images at even distances, without unreadable ones; a made-up image if none is readable."""
    kept, pixels, spent_s = _decode_all(sample_files(images) if images is not None else [], preprocessing)
    made_up = not kept
    if made_up:
        kept, pixels, spent_s = _decode_all([made_up_image()], preprocessing)
    jpeg = {
        codec: _measure_jpeg(kept[:_MAX_RECOMPRESSED], preprocessing, codec)
        for codec in codecs.list_recompressing_codecs()
    }
    mean_bytes = sum(map(len, kept)) / len(kept)
    stats = ImageStats(len(kept), mean_bytes, spent_s * 1e6 / len(kept), jpeg, made_up=made_up)
    return ImageSample(tuple(kept), np.stack(pixels), stats)


def _decode_all(files: Sequence[bytes], preprocessing: Preprocessing) -> tuple[list[bytes], list[np.ndarray], float]:
    """The readable files, their pixels, and the seconds to decode them; the first is decoded once before, because that
    loads the decoder."""
    kept: list[bytes] = []
    pixels: list[np.ndarray] = []
    spent_s = 0.0
    for file in files:
        try:
            if not kept:
                decode(file, preprocessing)
            start = time.perf_counter()
            pixels.append(decode(file, preprocessing))
        except UndecodableImage:
            continue
        spent_s += time.perf_counter() - start
        kept.append(file)
    return kept, pixels, spent_s


def find_built_in_images(bundle: Bundle) -> str | None:
    """The folder of the images that belong to the built-in model; None for any other model."""
    folder = BUILT_IN_PATH.parent / "images"
    return str(folder) if bundle.path.resolve() == BUILT_IN_PATH.resolve() and folder.is_dir() else None


@cache
def made_up_image() -> bytes:
    """The file that is measured where no image is given."""
    return synthetic_photo(np.random.default_rng(0), *_SYNTHETIC_SIZE)


def sample_files(images: ImageSet) -> list[bytes]:
    """Read up to 16 image files at even distances, without missing files and files above 16 MiB."""
    rows = sorted({number * images.table.num_rows // _MAX_IMAGES for number in range(_MAX_IMAGES)})
    files = []
    for name in images.table["image"].take(rows).to_pylist():
        try:
            files.append(images.root.read(name, _MAX_FILE_BYTES))
        except (FileNotFoundError, StorageFailed):
            continue
    return files


def synthetic_photo(random: np.random.Generator, height: int, width: int) -> bytes:
    """Make a JPEG file of coloured blocks under noise, about as large as a photograph of that size."""
    blocks = random.integers(0, 256, (-(-height // 16), -(-width // 16), 3))
    pixels = np.kron(blocks, np.ones((16, 16, 1)))[:height, :width] + random.normal(0, 6, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _measure_jpeg(files: Sequence[bytes], preprocessing: Preprocessing, codec: str) -> tuple[float, float]:
    """Mean bytes of a recompressed file and µs to make it."""
    start = time.perf_counter()
    sizes = [len(codecs.open_image_codec(codec).recompress(file, preprocessing)) for file in files]
    return sum(sizes) / len(sizes), (time.perf_counter() - start) * 1e6 / len(sizes)
