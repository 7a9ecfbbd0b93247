"""Conversion of decoded images to 8 bits and to the colours of a model, in bands of rows, so that it takes little
memory beside the image."""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

_BAND_PIXELS = 1 << 20
_BITS = 258  # the tag of a TIFF
_Converter = Callable[[Image.Image], Image.Image]


def convert(image: Image.Image, mode: str) -> Image.Image:
    """The image in mode RGB or L, from any mode; the same object if it has this mode."""
    if has_wide_values(image):
        image = _eight_bits(image)
    return image if image.mode == mode else image.convert(mode)


def convert_reduced(image: Image.Image, mode: str, factor: int) -> Image.Image:
    """As `convert`, with both sides divided by `factor` and rounded up; each pixel is the mean of its square."""
    eight_bits = _eight_bit_converter(image) if has_wide_values(image) else None
    reduced = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    for top, band in _bands(image, factor):
        narrow = eight_bits(band) if eight_bits else band
        reduced.paste((narrow if narrow.mode == mode else narrow.convert(mode)).reduce(factor), (0, top // factor))
    return reduced


def has_wide_values(image: Image.Image) -> bool:
    """Whether a pixel is one number of more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert a grey image of more than 8 bits to 8 bits; Pillow's own conversion may clip."""
    converter, narrow = _eight_bit_converter(image), Image.new("L", image.size)
    for top, band in _bands(image, 1):
        narrow.paste(converter(band), (0, top))
    return narrow


def _eight_bit_converter(image: Image.Image) -> _Converter:
    """The conversion of the bands of an image to 8 bits.

    Integers use the scale of the file: 16 bits, or the bit depth in a TIFF header. Other integers, and floats outside
    0 to 1 and 0 to 255, have no known scale: their minimum becomes 0 and their maximum 255."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(_BITS, (16,))[0]
        return lambda band: Image.fromarray((np.asarray(band) >> (bits - 8)).astype(np.uint8))
    limits = [(values.min(), values.max()) for _, band in _bands(image, 1) for values in (_finite(band),)]
    low, high = min(limit[0] for limit in limits), max(limit[1] for limit in limits)
    if image.mode == "I" and low >= 0 and high <= 65_535:
        return lambda band: Image.fromarray((_finite(band) / 256).astype(np.uint8))
    if low < 0 or high > 255 or image.mode == "I":
        scale = max(high - low, 1e-300)
        return lambda band: Image.fromarray(((_finite(band) - low) / scale * 255).round().astype(np.uint8))
    return lambda band: Image.fromarray((_finite(band) * (255 if high <= 1 else 1)).round().astype(np.uint8))


def _finite(band: Image.Image) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # signalling NaN
        return np.nan_to_num(np.asarray(band).astype(np.float64))


def _bands(image: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """Bands of about a million pixels, each with the number of its first row, a multiple of `factor`."""
    rows = max(1, _BAND_PIXELS // (image.width * factor)) * factor
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))
