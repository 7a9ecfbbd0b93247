"""`image`, `jpeg90` and `jpeg75`: image files unchanged, or as JPEG at the model's input size."""

import io
from functools import partial

from hybrid_batch.data.images.decode import Preprocessing, decode_image
from hybrid_batch.data.images.decoding.pixel_budget import RUNNER_BUDGET, PixelBudget
from hybrid_batch.inference.protocol.codecs import IMAGE
from hybrid_batch.inference.protocol.codecs.codec import ImageCodec


def open_codec(name: str) -> ImageCodec:
    """Return the codec `image`, or `jpegQ` for a JPEG quality of Q from 1 to 95."""
    if name == IMAGE:
        return ImageCodec(_unchanged)
    return ImageCodec(partial(_to_jpeg, quality=int(name.removeprefix("jpeg"))))


def _unchanged(file: bytes, preprocessing: Preprocessing, budget: PixelBudget = RUNNER_BUDGET) -> bytes:
    return file


def _to_jpeg(file: bytes, preprocessing: Preprocessing, budget: PixelBudget = RUNNER_BUDGET, *, quality: int) -> bytes:
    buffer = io.BytesIO()
    decode_image(file, preprocessing, budget).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
