"""Image bytes to the numbers a model takes."""

import contextlib
import ctypes
import io
import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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

# Pillow warns, logs and, through libtiff, prints of what is odd in a file. Here a file is read or it is not, and the
# screen is somebody else's. Its warning of a decompression bomb (above 89 million pixels, 360 MB) is an error: threads
# decode many images at once. All this is set once for the process, for it cannot be set around a call in one thread.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").addHandler(logging.NullHandler())
with contextlib.suppress(AttributeError, OSError):  # a Pillow built without libtiff
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


class CannotDecode(ValueError):
    """The bytes are no image Pillow can read whole. The message is one short line."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """How an image becomes the input of a model. Raises WrongUsage for what cannot be.

    `colour` is the order of the channels. `resize`, by Pillow's bilinear filter, squashes the image to the
    size, or fits its shorter side and crops the centre. `scale` says what becomes of pixels from 0 to 255;
    `caffe` and `torch` are those of keras.applications, and `caffe` means blue first whatever `colour` says."""

    height: int
    width: int
    colour: Colour = "rgb"
    resize: Resize = "squash"
    scale: Scale = "0-255"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise WrongUsage(f"An image of {self.height}x{self.width} pixels cannot be; give positive sizes.")
        for name, allowed in (("colour", Colour), ("resize", Resize), ("scale", Scale)):
            if getattr(self, name) not in get_args(allowed):
                raise WrongUsage(f"No {name} {getattr(self, name)!r}; choose one of {', '.join(get_args(allowed))}.")
        if self.colour == "grey" and self.scale in ("caffe", "torch"):
            raise WrongUsage(f"The scale {self.scale!r} needs three colours; with grey use 0-255, 0-1 or -1-1.")

    @property
    def channels(self) -> int:
        return 1 if self.colour == "grey" else 3

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Preparation":
        """What `to_dict` gave. Raises WrongUsage for anything else."""
        fields = ("height", "width", "colour", "resize", "scale")
        if set(stored) != set(fields) or not all(type(stored[size]) is int for size in ("height", "width")):
            raise WrongUsage(f"An input preparation has {', '.join(fields)}, sizes as integers; got {dict(stored)}.")
        return cls(**stored)


def decode(data: bytes, preparation: Preparation) -> np.ndarray:
    """The first frame of an image, upright, as the model takes it: float32 (height, width, channels), C-contiguous.

    As in Keras' `load_img`, transparency is dropped, not blended. Of 16-bit greys the high byte counts, as in
    16-bit colours. Raises CannotDecode."""
    pixels = np.asarray(decode_picture(data, preparation), dtype=np.float32)
    return scale_pixels(pixels.reshape(preparation.height, preparation.width, preparation.channels), preparation)


def decode_picture(data: bytes, preparation: Preparation) -> Image.Image:
    """The same as a picture of 8 bits, before its pixels are scaled: mode RGB, or L for grey. Raises CannotDecode."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _resized(_upright(_loaded(image)), preparation)
    except UnidentifiedImageError as error:
        raise CannotDecode("no known image format" if data else "the file is empty") from error
    except Exception as error:  # broken files have raised every kind there is, SyntaxError and MemoryError included
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CannotDecode(reason[:200]) from error


def scale_pixels(pixels: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Scale float32 pixels (..., channels) from 0 to 255, red first, in place, and order their channels.

    The array returned is C-contiguous, and the one given unless the order changed."""
    scale = preparation.scale
    if scale == "0-1":
        pixels /= 255
    elif scale == "-1-1":
        pixels /= 127.5
        pixels -= 1
    elif scale == "torch":
        pixels /= 255
        pixels -= _TORCH_MEAN
        pixels /= _TORCH_DEVIATION
    if preparation.colour == "bgr" or scale == "caffe":
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    if scale == "caffe":
        pixels -= _CAFFE_MEAN_BGR
    return pixels


def _loaded(image: Image.Image) -> Image.Image:
    if image.format == "EPS":  # Pillow would start Ghostscript on a file nobody vouches for
        raise NotImplementedError("EPS is a program, not an image")
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken metadata spoils no picture
        return image
    return image if turn is None else image.transpose(turn)


def _resized(image: Image.Image, preparation: Preparation) -> Image.Image:
    mode, size = "L" if preparation.colour == "grey" else "RGB", (preparation.width, preparation.height)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.mode != mode:
        image = image.convert(mode)
    if image.size == size:
        return image
    box = _centre(image.size, size) if preparation.resize == "crop" else None
    return image.resize(size, Image.Resampling.BILINEAR, box)


def _centre(image: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest box of the proportions of `size` in the middle of an image."""
    step = min(image[0] / size[0], image[1] / size[1])
    left, top = max(0.0, (image[0] - size[0] * step) / 2), max(0.0, (image[1] - size[1] * step) / 2)
    return left, top, image[0] - left, image[1] - top


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits brought to 8, which Pillow's own conversion may clip instead.

    Integers are read on the file's scale: 16 bits, or fewer where a TIFF says so. What lies outside it, and real
    numbers unless they go from 0 to 1 or to 255, have no known scale: the darkest becomes 0, the brightest 255."""
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
