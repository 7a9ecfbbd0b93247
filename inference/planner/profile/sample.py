"""Some pictures to measure with: the user's own, or one made to compress like a photograph."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.data.images.decode import CannotDecode, Preparation, decode
from hybrid_batch.data.images.images import Images
from hybrid_batch.inference.planner.profile.profile import Pictures
from hybrid_batch.inference.protocol.codecs.jpeg import JPEG_QUALITY, recompress

_COUNT, _FEW = 16, 4
_LIMIT_BYTES = 16 << 20
_MADE = (375, 500)


@dataclass(frozen=True, slots=True)
class Sample:
    """Files, and what they are as pixels (count, H, W, C); `pictures` sums them up."""

    files: tuple[bytes, ...]
    pixels: np.ndarray
    pictures: Pictures


def take_sample(preparation: Preparation, images: Images | None = None) -> Sample:
    """Up to 16 of the images, evenly over them, without those that cannot be read; one made up if there is none."""
    files = list(sample_files(images)) if images is not None else []
    kept, pixels, spent = [], [], 0.0
    for turn in (files, [_photograph()]):
        for file in turn:
            began = time.perf_counter()
            try:
                pixels.append(decode(file, preparation))
            except CannotDecode:
                continue
            spent += time.perf_counter() - began
            kept.append(file)
        if kept:
            break
    jpeg = {codec: _recompressed(kept[:_FEW], preparation, codec) for codec in JPEG_QUALITY}
    facts = Pictures(len(kept), sum(map(len, kept)) / len(kept), spent * 1e6 / len(kept), jpeg)
    return Sample(tuple(kept), np.stack(pixels), facts)


def _recompressed(files: Sequence[bytes], preparation: Preparation, codec: str) -> tuple[float, float]:
    """Mean bytes, and µs to make them."""
    began = time.perf_counter()
    sizes = [len(recompress(file, preparation, codec)) for file in files]
    return sum(sizes) / len(sizes), (time.perf_counter() - began) * 1e6 / len(sizes)


def sample_files(images: Images) -> list[bytes]:
    """The files of up to 16 images, evenly over them, without those that are gone or very large."""
    rows = sorted({at * images.table.num_rows // _COUNT for at in range(_COUNT)})
    found = []
    for name in images.table["image"].take(rows).to_pylist():
        try:
            found.append(images.root.read(name, _LIMIT_BYTES))
        except (FileNotFoundError, StorageFailed):
            continue
    return found


def _photograph() -> bytes:
    chance = np.random.default_rng(0)
    height, width = _MADE
    blocks = chance.integers(0, 256, (-(-height // 16), -(-width // 16), 3))
    picture = np.kron(blocks, np.ones((16, 16, 1)))[:height, :width] + chance.normal(0, 6, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
