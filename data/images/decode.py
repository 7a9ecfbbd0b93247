"""Decoding of image files into model inputs."""

import contextlib
import ctypes
import io
import logging
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from textwrap import shorten
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image, UnidentifiedImageError, _imaging

from hybrid_batch.data.errors import WrongUsage

Colour = Literal["rgb", "bgr", "grey"]
Resize = Literal["squash", "crop"]
Scale = Literal["0-255", "0-1", "-1-1", "caffe", "torch"]

_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height
_BOMB = re.compile(r"\((\d+) pixels\) exceeds limit of (\d+) pixels")
_REASON_CHARACTERS = 200
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_PNG_METADATA = (b"eXIf", b"iTXt")  # the chunks of EXIF and XMP

# Pillow reports irregular files by warnings, logs and, through libtiff, on stderr; a file is either decoded or an
# error, so these are silenced. Its decompression bomb warning (above 89 million pixels, 360 MB) becomes an error,
# because threads decode many images at once. These settings are global: Pillow has none for one call or thread.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").addHandler(logging.NullHandler())
with contextlib.suppress(AttributeError, OSError):  # a Pillow built without libtiff
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@dataclass(frozen=True, slots=True)
class PixelSize:
    """The width and height of an image in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """The pixels of an image as `decode` returns them, and the size of the upright original."""

    pixels: np.ndarray
    original: PixelSize


class UndecodableImage(ValueError):
    """Pillow cannot decode the bytes. The message is one short line."""


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


def decode(data: bytes, preprocessing: Preprocessing) -> np.ndarray:
    """Decode the first frame of an image, upright: float32 (height, width, channels), C-contiguous.

    Transparency is dropped, not blended, as in Keras' `load_img`. 16-bit values are reduced to their high byte.
    Raises UndecodableImage."""
    return decode_sized(data, preprocessing).pixels


def decode_sized(data: bytes, preprocessing: Preprocessing) -> DecodedImage:
    """Decode as `decode` does, and return the original size too. Raises UndecodableImage."""
    image, size = _decode(data, preprocessing)
    pixels = np.asarray(image, dtype=np.float32)
    shape = preprocessing.height, preprocessing.width, preprocessing.channels
    return DecodedImage(scale_pixels(pixels.reshape(shape), preprocessing), size)


def decode_image(data: bytes, preprocessing: Preprocessing) -> Image.Image:
    """Decode as `decode` does, without scaling: an 8-bit image of mode RGB, or L for grey. Raises UndecodableImage."""
    return _decode(data, preprocessing)[0]


def image_size(data: bytes) -> PixelSize | None:
    """The upright size of the first frame of an image, from the header of its file; None when Pillow cannot open it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            # Pillow swaps the sides of a TIFF itself. The metadata of a PNG may follow its pixels, and Pillow would
            # decode them to look for it.
            may_be_turned = image.format != "TIFF" and (image.format != "PNG" or _png_has_metadata(data))
            is_turned = may_be_turned and _orientation(image) in _SIDEWAYS
            return PixelSize(*(image.size[::-1] if is_turned else image.size))
    except Exception:  # damaged files raise any exception, including SyntaxError and MemoryError
        return None


def _decode(data: bytes, preprocessing: Preprocessing) -> tuple[Image.Image, PixelSize]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = _upright(_loaded(image))
            return _resized(upright, preprocessing), PixelSize(*upright.size)
    except UnidentifiedImageError as error:
        raise UndecodableImage(_unknown_format(data)) from error
    except UndecodableImage:
        raise
    except Exception as error:  # damaged files raise any exception, including SyntaxError and MemoryError
        raise UndecodableImage(_reason(error)) from error


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


def _loaded(image: Image.Image) -> Image.Image:
    if image.format == "EPS":  # Pillow would run Ghostscript on an untrusted file
        raise UndecodableImage("EPS files are programs, not images")
    image.load()
    return image


def _reason(error: Exception) -> str:
    """Why Pillow failed, as the end of a sentence of at most 200 characters."""
    text = " ".join(str(error).split())
    if too_many := _BOMB.search(text):
        pixels, limit = map(int, too_many.groups())
        return f"the image has {pixels:,} pixels, more than {limit:,}"
    if "truncated" in text.lower():
        return "the file is truncated"
    if text[1:2].islower():
        text = text[0].lower() + text[1:]
    text = text.rstrip(".") or type(error).__name__
    return shorten(f"the file is damaged or not supported: {text}", _REASON_CHARACTERS, placeholder=" …")


def _unknown_format(data: bytes) -> str:
    if not data:
        return "the file is empty"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIF is not read; convert the image to JPEG or PNG"
    return "no known image format"


def _png_has_metadata(data: bytes) -> bool:
    """Whether a PNG has a chunk that may contain an orientation."""
    start = 8
    while start + 8 <= len(data):
        if data[start + 4 : start + 8] in _PNG_METADATA:
            return True
        start += 12 + int.from_bytes(data[start : start + 4])
    return False


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged metadata does not make the image unreadable
        return 1
    return orientation if isinstance(orientation, int) else 1


def _resized(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    mode, size = "L" if preprocessing.colour == "grey" else "RGB", (preprocessing.width, preprocessing.height)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.mode != mode:
        image = image.convert(mode)
    if image.size == size:
        return image
    box = _centre(image.size, size) if preprocessing.resize == "crop" else None
    return image.resize(size, Image.Resampling.BILINEAR, box)


def _centre(image: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest centred box (left, top, right, bottom) of an image with the aspect ratio of `size`."""
    step = min(image[0] / size[0], image[1] / size[1])
    left, top = max(0.0, (image[0] - size[0] * step) / 2), max(0.0, (image[1] - size[1] * step) / 2)
    return left, top, image[0] - left, image[1] - top


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert a grey image of more than 8 bits to 8 bits; Pillow's own conversion may clip.

    Integers use the scale of the file: 16 bits, or the bit depth in a TIFF header. Other integers, and floats outside
    0 to 1 and 0 to 255, have no known scale: their minimum becomes 0 and their maximum 255."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(258, (16,))[0]
        return Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    values = np.nan_to_num(values.astype(np.float64))
    low, high = values.min(), values.max()
    if image.mode == "I" and low >= 0 and high <= 65_535:
        return Image.fromarray((values / 256).astype(np.uint8))
    if low < 0 or high > 255 or image.mode == "I":
        values = (values - low) / max(high - low, 1e-300)
        high = 1.0
    return Image.fromarray((values * (255 if high <= 1 else 1)).round().astype(np.uint8))
