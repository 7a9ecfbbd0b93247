"""The structure of WebP files (RFC 9649): the size of the canvas."""

from hybrid_batch.data.images.decoding.pixel_budget import Structure, UndecodableImage

_WEBP_BYTES_A_PIXEL = 13  # two canvases of 4 bytes, the planes, and a copy
_WEBP_WEIGHT = 2


def check(data: bytes) -> Structure:
    """See `check_structure`. The decoder allocates its canvas when the file is opened."""
    kind, start = data[12:16], 20
    if data[8:12] != b"WEBP":
        raise UndecodableImage("no known image format")
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[start + at : start + at + 3], "little") for at in (4, 7))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[start + 1 : start + 5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(data[start + at : start + at + 2], "little") & 0x3FFF for at in (6, 8))
    return Structure(pixels=width * height, weight=_WEBP_WEIGHT, bytes_a_pixel=_WEBP_BYTES_A_PIXEL)
