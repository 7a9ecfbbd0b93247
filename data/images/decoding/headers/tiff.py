"""The structure of TIFF files (TIFF 6.0): strips, tiles and the compression of the first image."""

from collections import Counter

from hybrid_batch.data.images.decoding.headers.ifd import TagEntry, check_tags, first_directory
from hybrid_batch.data.images.decoding.pixel_budget import Structure, UndecodableImage

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS = 256, 257, 258, 259, 277, 278
_TILE_WIDTH, _TILE_HEIGHT, _PLANAR = 322, 323, 284
_PARTS = (273, 279, 324, 325)
_STRUCTURE = (_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _TILE_WIDTH, _TILE_HEIGHT, _PLANAR, *_PARTS)
_MAX_PARTS = 100_000
_MAX_SAMPLES = 8
_MAX_TAGS = 4096
_JPEG = (6, 7)
_READ = {1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34925, 50000}
_SCANS = 16
_PROGRESSIVE_BYTES_A_PIXEL = 6


def check(data: bytes) -> Structure:
    """See `check_structure`. Tiles that reach beyond the image are decoded whole, into a buffer of their size."""
    entries = first_directory(data)
    if len(entries) > _MAX_TAGS:
        raise UndecodableImage(f"the TIFF file has {len(entries):,} tags, more than {_MAX_TAGS:,}")
    check_tags(data, entries)
    tags = {entry.tag: entry for entry in entries}
    counts = Counter(entry.tag for entry in entries)
    if any(counts[tag] > 1 for tag in _STRUCTURE):  # Pillow takes the last, libtiff the first
        raise UndecodableImage("the TIFF file has a tag of its size or its parts twice")
    parts = max((tags[tag].count for tag in _PARTS if tag in tags), default=0)
    if parts > _MAX_PARTS:
        raise UndecodableImage(f"the TIFF file has {parts:,} strips or tiles, more than {_MAX_PARTS:,}")
    compression = _number(data, tags, _COMPRESSION, 1)
    if compression not in _READ:
        raise UndecodableImage(f"TIFF compression {compression} is not read; convert the image to PNG")
    structure = _parts(data, tags)
    return _with_scans(data, structure, parts) if compression in _JPEG else structure


def _parts(data: bytes, tags: dict[int, TagEntry]) -> Structure:
    width, height = _number(data, tags, _WIDTH, 0), _number(data, tags, _HEIGHT, 0)
    samples = min(_MAX_SAMPLES, _number(data, tags, _SAMPLES, 1))
    bits = max(tags[_BITS].values(data, _MAX_SAMPLES) or (1,)) if _BITS in tags else 1
    if _TILE_WIDTH in tags:
        part = _number(data, tags, _TILE_WIDTH, 0), _number(data, tags, _TILE_HEIGHT, 0)
    else:
        part = width, min(height, _number(data, tags, _ROWS, height))
    planes = samples if _number(data, tags, _PLANAR, 1) == 2 else 1
    columns, rows = (-(-size // max(1, step)) for size, step in zip((width, height), part, strict=True))
    part_bytes = part[0] * part[1] * -(-bits * samples // (8 * planes))
    # A part of raw pixels is copied row by row; any other may be held twice, compressed and decoded.
    return Structure(pixels=columns * part[0] * rows * part[1], extra_bytes=2 * part_bytes)


def _with_scans(data: bytes, structure: Structure, parts: int) -> Structure:
    if b"\xff\xc2" not in data:
        return structure
    scans = data.count(b"\xff\xda") // max(1, parts)
    return structure.plus(Structure(weight=max(1, -(-scans // _SCANS)), bytes_a_pixel=_PROGRESSIVE_BYTES_A_PIXEL))


def _number(data: bytes, tags: dict[int, TagEntry], tag: int, default: int) -> int:
    values = tags[tag].values(data, 1) if tag in tags else ()
    return values[0] if values else default
