"""Decoding of image files into model inputs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.images.decoding.opened_image import OpenedImage, open_image, undecodable
from hybrid_batch.data.images.decoding.orientation import PixelSize, find_orientation, upright_size
from hybrid_batch.data.images.decoding.pixel_budget import RUNNER_BUDGET, PixelBudget, UndecodableImage

__all__ = [
    "Colour",
    "DecodedImage",
    "PixelSize",
    "Preprocessing",
    "Resize",
    "Scale",
    "UndecodableImage",
    "decode",
    "decode_image",
    "decode_opened",
    "decode_sized",
    "image_size",
    "scale_pixels",
]

Colour = Literal["rgb", "bgr", "grey"]
Resize = Literal["squash", "crop"]
Scale = Literal["0-255", "0-1", "-1-1", "caffe", "torch"]

_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_PNG_METADATA = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # the chunks of EXIF and XMP


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """The pixels of an image as `decode` returns them, and the size of the upright original."""

    pixels: np.ndarray
    original: PixelSize


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes a model input. Raises WrongUsage for invalid values.

    `height` and `width` are in pixels. `colour` is the order of the channels. `resize` uses Pillow's bilinear filter:
    "squash" ignores the aspect ratio, "crop" fits the shorter side and crops the centre. `scale` maps pixel values
    from 0 to 255; "caffe" and "torch" follow keras.applications, and "caffe" implies BGR order."""

    height: int
    width: int
    colour: Colour = "rgb"
    resize: Resize = "squash"
    scale: Scale = "0-255"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise WrongUsage(f"An input of {self.height}x{self.width} pixels is not possible; give positive sizes.")
        for name, allowed in (("colour", Colour), ("resize", Resize), ("scale", Scale)):
            if getattr(self, name) not in get_args(allowed):
                raise WrongUsage(f"No {name} {getattr(self, name)!r}; choose one of {', '.join(get_args(allowed))}.")
        if self.colour == "grey" and self.scale in ("caffe", "torch"):
            raise WrongUsage(f"The scale {self.scale!r} needs three colours; with grey use 0-255, 0-1 or -1-1.")

    @property
    def channels(self) -> int:
        return 1 if self.colour == "grey" else 3

    def to_dict(self) -> dict[str, Any]:
        """Return the values as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Preprocessing":
        """Parse the JSON object of `to_dict`. Raises WrongUsage for any other object."""
        fields = ("height", "width", "colour", "resize", "scale")
        if set(stored) != set(fields) or not all(type(stored[size]) is int for size in ("height", "width")):
            raise WrongUsage(f"Input preprocessing has {', '.join(fields)}, sizes as integers; got {dict(stored)}.")
        return cls(**stored)


def decode(data: bytes, preprocessing: Preprocessing, budget: PixelBudget = RUNNER_BUDGET) -> np.ndarray:
    """Decode the first frame of an image, upright: float32 (height, width, channels), C-contiguous.

    Transparency is dropped, not blended, as in Keras' `load_img`. 16-bit values are reduced to their high byte. An
    image of more than LARGEST_DECODED pixels is reduced before it is resized. Raises UndecodableImage."""
    return decode_sized(data, preprocessing, budget).pixels


def decode_sized(data: bytes, preprocessing: Preprocessing, budget: PixelBudget = RUNNER_BUDGET) -> DecodedImage:
    """Decode as `decode` does, and return the original size too. Raises UndecodableImage."""
    return decode_opened(open_image(data, budget), preprocessing)


def decode_opened(opened: OpenedImage, preprocessing: Preprocessing) -> DecodedImage:
    """Decode an image that is open, as `decode_sized` does. Raises UndecodableImage."""
    image, size = _decode(opened, preprocessing)
    pixels = np.asarray(image, dtype=np.float32)
    shape = preprocessing.height, preprocessing.width, preprocessing.channels
    return DecodedImage(scale_pixels(pixels.reshape(shape), preprocessing), size)


def decode_image(data: bytes, preprocessing: Preprocessing, budget: PixelBudget = RUNNER_BUDGET) -> Image.Image:
    """Decode as `decode` does, without scaling: an 8-bit image of mode RGB, or L for grey. Raises UndecodableImage."""
    return _decode(open_image(data, budget), preprocessing)[0]


def image_size(data: bytes, budget: PixelBudget = RUNNER_BUDGET) -> PixelSize | None:
    """The upright size of the first frame of an image, from the header of its file; None when it cannot be opened."""
    try:
        image = open_image(data, budget).image
        if image.format == "PNG" and _png_has_metadata(data):
            image.load()  # the metadata of a PNG may follow its pixels
        return upright_size(*image.size, find_orientation(image))
    except Exception:  # damaged files raise any exception, including SyntaxError and MemoryError
        return None


def _decode(opened: OpenedImage, preprocessing: Preprocessing) -> tuple[Image.Image, PixelSize]:
    image, original = opened.decode("L" if preprocessing.colour == "grey" else "RGB")
    try:
        return _resized(image, preprocessing), original
    except Exception as error:  # MemoryError
        raise undecodable(error) from error


def scale_pixels(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Scale float32 RGB or grey pixels (..., channels) from 0 to 255 in place, and reorder their channels.

    The result is C-contiguous; it is the given array unless the channels were reordered."""
    scale = preprocessing.scale
    if scale == "0-1":
        pixels /= 255
    elif scale == "-1-1":
        pixels /= 127.5
        pixels -= 1
    elif scale == "torch":
        pixels /= 255
        pixels -= _TORCH_MEAN
        pixels /= _TORCH_DEVIATION
    if preprocessing.colour == "bgr" or scale == "caffe":
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    if scale == "caffe":
        pixels -= _CAFFE_MEAN_BGR
    return pixels


def _png_has_metadata(data: bytes) -> bool:
    """Whether a PNG has a chunk that may contain an orientation."""
    start = 8
    while start + 8 <= len(data):
        if data[start + 4 : start + 8] in _PNG_METADATA:
            return True
        start += 12 + int.from_bytes(data[start : start + 4])
    return False


def _resized(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    size = preprocessing.width, preprocessing.height
    if image.size == size:
        return image
    box = _centre(image.size, size) if preprocessing.resize == "crop" else None
    return image.resize(size, Image.Resampling.BILINEAR, box)


def _centre(image: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest centred box (left, top, right, bottom) of an image with the aspect ratio of `size`."""
    step = min(image[0] / size[0], image[1] / size[1])
    left, top = max(0.0, (image[0] - size[0] * step) / 2), max(0.0, (image[1] - size[1] * step) / 2)
    return left, top, image[0] - left, image[1] - top
