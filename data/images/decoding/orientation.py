"""The orientation of an image (EXIF tag 274), read without Pillow's copies of all other tags."""

import re
from dataclasses import dataclass
from typing import Any

from PIL import Image

from hybrid_batch.data.images.decoding.headers.ifd import first_directory

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
_RAW_PROFILE = "Raw profile type exif"
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_EXIF = b"Exif\0\0"
_KEYS = {"exif", _RAW_PROFILE, "xmp", "XML:com.adobe.xmp"}


@dataclass(frozen=True, slots=True)
class PixelSize:
    """The width and height of an image in pixels."""

    width: int
    height: int


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """The image as its orientation shows it; the same object if it is not turned."""
    transposition = _TURNS.get(orientation)
    return image if transposition is None else image.transpose(transposition)


def upright_size(width: int, height: int, orientation: int) -> PixelSize:
    """The size of an image that is turned by its orientation."""
    return PixelSize(height, width) if orientation in _SIDEWAYS else PixelSize(width, height)


def find_orientation(image: Image.Image) -> int:
    """The orientation of an opened image; 1, upright, for damaged metadata, and for a TIFF, which Pillow turns."""
    info = image.info
    if image.format == "TIFF" or not _KEYS & info.keys():
        return 1
    try:
        exif = _exif(info)
    except ValueError:  # damaged metadata does not make the image unreadable
        return 1
    if exif is None:
        return _in_xmp(info)
    while exif.startswith(_EXIF):
        exif = exif[len(_EXIF) :]
    if exif and exif[:2] not in (b"II", b"MM"):
        return 1
    found = None
    for entry in first_directory(exif):
        if entry.tag == _ORIENTATION and entry.count == 1:
            found = next(iter(entry.values(exif, 1)), 1)
    return _in_xmp(info) if found is None else found


def _exif(info: dict[Any, Any]) -> bytes | None:
    """The EXIF data of an opened image. Raises ValueError for text that is not hexadecimal."""
    exif = info.get("exif")
    if exif is None and _RAW_PROFILE in info:
        return bytes.fromhex("".join(str(info[_RAW_PROFILE]).split("\n")[3:]))
    return exif if isinstance(exif, bytes) else None


def _in_xmp(info: dict[Any, Any]) -> int:
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp")
    found = _XMP.search(xmp.encode() if isinstance(xmp, str) else xmp) if isinstance(xmp, str | bytes) else None
    return int(found[1]) if found else 1
