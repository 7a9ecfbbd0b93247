"""The structure of JPEG 2000 files (ITU-T T.800): tiles, code blocks, precincts and layers."""

import struct
from dataclasses import dataclass

from hybrid_batch.data.images.decoding.pixel_budget import Structure, UndecodableImage

_MAX_BOXES = 1024
_MAX_SEGMENTS = 70_000
_MAX_TILES = 4096
_WEIGHT = 32  # Pillow holds the lock of the interpreter meanwhile
_PLANE_BYTES = 5.4  # of a component's pixel: 32 bits, and the image's own
_BLOCK_BYTES, _PRECINCT_BYTES = 200, 400
_BLOCK_PIXELS, _PACKET_PIXELS = 8, 2  # time of a code block and of an empty packet, in pixels of this format
_SIZ, _COD, _COC, _POC, _SOT, _SOD, _EOC = 0xFF51, 0xFF52, 0xFF53, 0xFF5F, 0xFF90, 0xFF93, 0xFFD9
_START = b"\xff\x4f\xff\x51"


@dataclass(slots=True)
class _Codestream:
    """Values of the main header; of repeated markers those that cost most."""

    width: int = 0
    height: int = 0
    tile_width: int = 1
    tile_height: int = 1
    components: int = 1
    layers: int = 1
    levels: int = 32
    block: int = 12  # log2 of the smallest number of pixels in a code block
    precinct: int = 30  # log2 of the smallest number of pixels in a precinct


def check(data: bytes) -> Structure:
    """See `check_structure`."""
    start, box = _find_codestream(data), data.find(b"ihdr")
    height, width = struct.unpack_from(">LL", data, box + 4) if 0 <= box <= len(data) - 12 else (0, 0)
    structure = Structure(pixels=width * height, weight=_WEIGHT, bytes_a_pixel=4 * _PLANE_BYTES)
    return structure if start < 0 else structure.plus(_structure(_read(data, start + 2)))


def _find_codestream(data: bytes) -> int:
    """The position of the codestream, which is in a box of a JP2 file; -1 without one."""
    if data.startswith(_START):
        return 0
    position = 0
    for _ in range(_MAX_BOXES):
        if position + 8 > len(data):
            return -1
        length, kind = struct.unpack_from(">L4s", data, position)
        header = 8
        if length == 1:
            header, length = 16, int.from_bytes(data[position + 8 : position + 16])
        if kind == b"jp2c":
            return position + header
        if length < header:
            return -1
        position += length
    raise UndecodableImage(f"the JPEG 2000 file has more than {_MAX_BOXES:,} boxes")


def _read(data: bytes, position: int) -> _Codestream:
    found, levels = _Codestream(), []
    tile_part, segments = 0, 0
    while position + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        segments += 1
        if segments > _MAX_SEGMENTS:
            raise UndecodableImage(f"the JPEG 2000 file has more than {_MAX_SEGMENTS:,} segments")
        content = data[position + 4 : position + 2 + length]
        if marker == _SIZ and len(content) >= 36:
            _read_size(found, content)
        elif marker == _COD and len(content) >= 10:
            found.layers = max(found.layers, int.from_bytes(content[2:4]))
            levels.append(_read_style(found, content[5:], has_precincts=bool(content[0] & 1)))
        elif marker in (_COC, _POC) and len(content) >= 8:
            wide = 2 if found.components > 256 else 1
            if marker == _COC:
                levels.append(_read_style(found, content[wide + 1 :], has_precincts=bool(content[wide] & 1)))
        elif marker == _SOT and len(content) >= 8:
            tile_part = position + int.from_bytes(content[2:6]) if any(content[2:6]) else len(data)
        elif marker == _SOD:
            position = max(tile_part, position + 2)
            continue
        elif marker == _EOC:
            break
        position += 2 + max(length, 2)
    found.levels = min(levels, default=0)
    return found


def _read_size(found: _Codestream, content: bytes) -> None:
    _, right, bottom, left, top, tile_width, tile_height, _, _, components = struct.unpack_from(">HLLLLLLLLH", content)
    found.width, found.height = max(0, right - left), max(0, bottom - top)
    found.tile_width, found.tile_height = max(1, min(tile_width, right)), max(1, min(tile_height, bottom))
    found.components = components


def _read_style(found: _Codestream, style: bytes, *, has_precincts: bool) -> int:
    """Note the code blocks and precincts of a coding style; returns its number of decompositions."""
    levels = style[0]
    found.block = min(found.block, (style[1] & 15) + (style[2] & 15) + 4)
    if has_precincts:
        sizes = style[5 : 6 + levels]
        found.precinct = min([found.precinct, *((size & 15) + (size >> 4) for size in sizes)])
    return levels


def _structure(found: _Codestream) -> Structure:
    tiles = -(-found.width // found.tile_width) * -(-found.height // found.tile_height)
    if tiles > _MAX_TILES:
        raise UndecodableImage(f"the JPEG 2000 file has {tiles:,} tiles, more than {_MAX_TILES:,}")
    samples = found.width * found.height * found.components
    tile_samples = min(found.tile_width, found.width) * min(found.tile_height, found.height) * found.components
    parts = found.components * (found.levels + 1)
    block = min(found.block, found.precinct)
    blocks, precincts = (samples >> block) + parts * tiles, (samples >> found.precinct) + parts * tiles
    packets = precincts * found.layers
    in_tile = tile_samples / max(1, samples)
    return Structure(
        pixels=found.width * found.height,
        extra_pixels=_BLOCK_PIXELS * blocks + _PACKET_PIXELS * packets,
        weight=_WEIGHT,
        bytes_a_pixel=_PLANE_BYTES * found.components,
        extra_bytes=int((blocks * _BLOCK_BYTES + precincts * _PRECINCT_BYTES + 2 * packets) * in_tile),
        halvings=found.levels,
    )
