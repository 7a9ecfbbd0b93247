"""Image files whose headers are read, and whose decoding is within a budget."""

import contextlib
import ctypes
import io
import logging
import math
import re
import warnings
from textwrap import shorten

from PIL import Image, ImageFile, UnidentifiedImageError, _imaging

from hybrid_batch.data.images.decoding.conversion import convert, convert_reduced
from hybrid_batch.data.images.decoding.headers.formats import check_structure, find_format
from hybrid_batch.data.images.decoding.orientation import PixelSize, find_orientation, turn, upright_size
from hybrid_batch.data.images.decoding.pixel_budget import DecodingCost, PixelBudget, Structure, UndecodableImage

LARGEST_DECODED = 25_000_000  # pixels; images of more are reduced while they are decoded, or at once after it
LARGEST_DECODED_JPEG2000 = 1 << 20  # pixels; Pillow holds the interpreter's lock while it decodes this format
MOST_PIXELS = 1_000_000_000  # of any budget
_PYTHON_WEIGHT = 16  # of decoders written in Python
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # of a pixel; 4 in other modes
_ROW_BYTES = 16
_BAND_BYTES = 32 << 20
_BOMB = re.compile(r"\((\d+) pixels\) exceeds limit of \d+ pixels")
_REASON_CHARACTERS = 200

# Pillow reports irregular files by warnings, logs and, through libtiff, on stderr; a file is either decoded or an
# error, so these are silenced. Its own limit of pixels is that of the greatest budget, and an error. These settings are
# global: Pillow has none for one call or thread.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").addHandler(logging.NullHandler())
with contextlib.suppress(AttributeError, OSError):  # a Pillow built without libtiff
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


class OpenedImage:
    """The first image of a file, not decoded yet. `cost` is what decoding takes, within the budget."""

    def __init__(self, image: Image.Image, structure: Structure) -> None:
        self.cost, self._halvings = _plan(image, structure)
        self._image: Image.Image | None = image

    @property
    def image(self) -> Image.Image:
        """The image of Pillow. Raises ValueError after `decode`."""
        if self._image is None:
            raise ValueError("the image was decoded before")
        return self._image

    def decode(self, mode: str) -> tuple[Image.Image, PixelSize]:
        """The pixels of the upright image in mode RGB or L, at most LARGEST_DECODED, and the size of the upright
        original. Can be called once. Raises UndecodableImage."""
        image, self._image = self.image, None
        try:
            return self._decode(image, mode)
        except Exception as error:  # damaged files raise any exception, including SyntaxError and MemoryError
            raise undecodable(error) from error

    def _decode(self, image: Image.Image, mode: str) -> tuple[Image.Image, PixelSize]:
        _halve(image, self._halvings)
        image.load()
        orientation = find_orientation(image)
        is_reduced = self._halvings > 0
        if (factor := _factor(image.width * image.height)) > 1:
            image = convert_reduced(image, mode, factor)
            is_reduced = True
        if orientation != 1:
            image = turn(image, orientation)
        size = PixelSize(*image.size)
        if is_reduced:
            size = upright_size(self.cost.width, self.cost.height, orientation)
        return convert(image, mode), size


def open_image(data: bytes, budget: PixelBudget) -> OpenedImage:
    """Open an image file. Raises UndecodableImage if it cannot be decoded, or not within the budget."""
    try:
        name = find_format(data)
        structure = check_structure(data, name)
        budget.check_pixels(structure.pixels)
        opened = OpenedImage(Image.open(io.BytesIO(data), formats=(name,)), structure)
        budget.check(opened.cost, name)
    except Exception as error:  # damaged files raise any exception, including SyntaxError and MemoryError
        if bomb := _BOMB.search(str(error)):
            budget.check_pixels(int(bomb[1]))
        raise undecodable(error) from error
    return opened


def undecodable(error: Exception) -> UndecodableImage:
    """The error of an image for an exception of Pillow."""
    if isinstance(error, UndecodableImage):
        return error
    if isinstance(error, UnidentifiedImageError):
        return UndecodableImage("no known image format")
    return UndecodableImage(_reason(error))


def _plan(image: Image.Image, structure: Structure) -> tuple[DecodingCost, int]:
    """The cost of decoding, and how often the decoder halves the sides."""
    if isinstance(image, ImageFile.ImageFile) and any(tile[0] in Image.DECODERS for tile in image.tile):
        structure = structure.plus(Structure(weight=_PYTHON_WEIGHT))
    width, height = image.size
    pixels = max(width * height, structure.pixels)
    is_jpeg2000 = image.format == "JPEG2000"
    most = LARGEST_DECODED_JPEG2000 if is_jpeg2000 else LARGEST_DECODED
    halvings = 0 if pixels <= most else min(structure.halvings, math.ceil(math.log2(pixels / most) / 2))
    decoded = pixels >> 2 * halvings
    stored = decoded * _BYTES.get(image.mode, 4) + max(width, height) * _ROW_BYTES
    decoder = int(structure.bytes_a_pixel * (decoded if is_jpeg2000 else pixels)) + structure.extra_bytes
    # Beside the image: a turned or converted copy, or a reduced one and bands.
    factor = _factor(decoded)
    after = 5 * decoded if factor == 1 else 4 * decoded // factor**2 + _BAND_BYTES
    peak = stored + max(decoder, after)
    work = (decoded if is_jpeg2000 else pixels) + structure.extra_pixels
    return DecodingCost(width, height, work, structure.weight, peak), halvings


def _halve(image: Image.Image, times: int) -> None:
    """Make the decoder halve the sides."""
    if times and image.format == "JPEG2000":
        image.reduce = times  # type: ignore[method-assign, assignment]
    elif times:
        image.draft(None, (max(1, image.width >> times), max(1, image.height >> times)))


def _factor(pixels: int) -> int:
    """By how much both sides are divided."""
    return 1 if pixels <= LARGEST_DECODED else math.ceil(math.sqrt(pixels / LARGEST_DECODED))


def _reason(error: Exception) -> str:
    """Why Pillow failed, as the end of a sentence of at most 200 characters."""
    text = " ".join(str(error).split())
    if "truncated" in text.lower():
        return "the file is truncated"
    if text[1:2].islower():
        text = text[0].lower() + text[1:]
    text = text.rstrip(".") or type(error).__name__
    return shorten(f"the file is damaged or not supported: {text}", _REASON_CHARACTERS, placeholder=" …")
