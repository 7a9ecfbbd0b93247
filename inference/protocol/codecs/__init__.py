"""The codecs: how the boundary tensors or the images of a batch become the data of a frame, and back.

    fp32, fp16       tensors in their own datatype, or floats as FP16, clipped at ±65504
    int8             each channel of an image on 256 levels, then zstd
    q6 … q2          each image on 2^N levels, then entropy coded
    calibrated-ID    channels on the levels that a calibration found, then entropy coded
    image            the image files unchanged
    jpeg90, jpeg75   the images at the model's input size, compressed to JPEG of this quality

Integer tensors are sent in their own datatype by every codec. A result never depends on the other images of a batch.

A new codec is one module with a function `open_codec(name)`, and one line in a table. Reading the tables imports
neither numpy nor a codec, so that commands can list the names in their help.
"""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hybrid_batch.data.errors import WrongUsage

if TYPE_CHECKING:
    from hybrid_batch.inference.protocol.codecs.codec import ImageCodec, TensorCodec

FP32, FP16, IMAGE, CALIBRATED = "fp32", "fp16", "image", "calibrated"

# The module of each codec, imported on use.
TENSOR_CODECS: dict[str, str] = {
    FP32: f"{__name__}.native",
    FP16: f"{__name__}.native",
    "int8": f"{__name__}.int8",
    **dict.fromkeys(("q6", "q5", "q4", "q3", "q2"), f"{__name__}.quantised"),
}
IMAGE_CODECS: dict[str, str] = {
    IMAGE: f"{__name__}.image",
    **dict.fromkeys(("jpeg90", "jpeg75"), f"{__name__}.image"),
}


def open_tensor_codec(name: str) -> "TensorCodec":
    """Return the codec for tensors of this name. Raises WrongUsage for an unknown name."""
    if name not in TENSOR_CODECS:
        raise WrongUsage(f"No codec named {name!r} sends tensors; choose one of {', '.join(TENSOR_CODECS)}.")
    codec: TensorCodec = _open(TENSOR_CODECS[name], name)
    return codec


def open_image_codec(name: str) -> "ImageCodec":
    """Return the codec for images of this name. Raises WrongUsage for an unknown name."""
    if name not in IMAGE_CODECS:
        raise WrongUsage(f"No codec named {name!r} sends images; choose one of {', '.join(IMAGE_CODECS)}.")
    codec: ImageCodec = _open(IMAGE_CODECS[name], name)
    return codec


@cache
def _open(module: str, name: str) -> Any:  # noqa: ANN401
    return import_module(module).open_codec(name)


def is_calibrated(name: str) -> bool:
    """Whether a codec's name is that of a calibration."""
    return name.startswith(f"{CALIBRATED}-")


def list_wire_codecs() -> list[str]:
    """Return the codecs that a tail accepts. Recompressed images arrive as image files."""
    return [*TENSOR_CODECS, CALIBRATED, IMAGE]


def list_recompressing_codecs() -> list[str]:
    """Return the image codecs that compress images anew."""
    return [name for name in IMAGE_CODECS if name != IMAGE]
