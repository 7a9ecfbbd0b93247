"""The structure of files that contain others or many parts: ICO, ICNS, PSD, FLI; and the header of TGA, which has no
first bytes of its own."""

import struct

from hybrid_batch.data.images.decoding.headers import jpeg2000, png
from hybrid_batch.data.images.decoding.pixel_budget import Structure, UndecodableImage

_MAX_PARTS = 1024
_PNG, _JPEG2000 = b"\x89PNG", (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
_TGA_HEADER = struct.Struct("<BBBHHBHHHHBB")


def check_ico(data: bytes) -> Structure:
    """See `check_structure`. An icon contains a PNG or a bitmap of a size of its own."""
    structure = Structure()
    for number in range(_limited(int.from_bytes(data[4:6], "little"), "ICO")):
        offset = int.from_bytes(data[18 + 16 * number : 22 + 16 * number], "little")
        if data.startswith(_PNG, offset):
            structure = structure.plus(png.check_at(data, offset))
        elif offset + 12 <= len(data):
            width, height = struct.unpack_from("<ii", data, offset + 4)
            structure = structure.plus(Structure(pixels=abs(width) * abs(height), bytes_a_pixel=4))
    return structure


def check_icns(data: bytes) -> Structure:
    """See `check_structure`. An icon contains PNG and JPEG 2000 files of any size."""
    structure, position, blocks = Structure(bytes_a_pixel=4), 8, 0
    while position + 8 <= min(len(data), int.from_bytes(data[4:8])):
        blocks = _limited(blocks + 1, "ICNS")
        content, length = position + 8, int.from_bytes(data[position + 4 : position + 8])
        if data.startswith(_PNG, content):
            structure = structure.plus(png.check_at(data, content))
        elif data.startswith(_JPEG2000, content):
            structure = structure.plus(jpeg2000.check(data[content : position + length]))
        position += max(1, length)
    return structure


def check_psd(data: bytes) -> Structure:
    """See `check_structure`. Resources are read one by one."""
    position = 26
    position += 4 + int.from_bytes(data[position : position + 4])
    end = position + 4 + int.from_bytes(data[position : position + 4])
    position, parts = position + 4, 0
    while position + 12 <= min(end, len(data)):
        parts = _limited(parts + 1, "PSD")
        name = data[position + 6] | 1
        length = int.from_bytes(data[position + 7 + name : position + 11 + name])
        position += 11 + name + length + (length & 1)
    return Structure(bytes_a_pixel=1)


def check_fli(data: bytes) -> Structure:
    """See `check_structure`."""
    _limited(int.from_bytes(data[134:136], "little") if data[132:134] == b"\xfa\xf1" else 0, "FLI")
    return Structure(bytes_a_pixel=1)


def looks_like_tga(data: bytes) -> bool:
    """Whether a file may be a TGA: a header of values that occur, with room for its pixels."""
    if len(data) < _TGA_HEADER.size:
        return False
    _, has_palette, kind, _, _, palette_bits, _, _, width, height, bits, flags = _TGA_HEADER.unpack_from(data)
    return (
        has_palette in (0, 1)
        and kind in (1, 2, 3, 9, 10, 11)
        and palette_bits in (0, 15, 16, 24, 32)
        and width > 0
        and height > 0
        and bits in (1, 8, 16, 24, 32)
        and not flags & 0xC0
    )


def _limited(count: int, kind: str) -> int:
    if count > _MAX_PARTS:
        raise UndecodableImage(f"the {kind} file has more than {_MAX_PARTS:,} parts")
    return count
