"""The structure of AVIF files: the sizes of the coded images, from their AV1 sequence headers. They may be greater than
the size that the container declares (boxes of ISO/IEC 14496-12)."""

from collections.abc import Iterator

from hybrid_batch.data.images.decoding.pixel_budget import Structure, UndecodableImage

_BYTES_A_PIXEL = 10
_WEIGHT = 2
_MAX_BOXES, _MAX_ITEMS = 4096, 1024
_START_BYTES = 1 << 12  # of an item, in which its sequence header is
_PARENTS = {
    b"meta": 4,
    b"moov": 0,
    b"trak": 0,
    b"mdia": 0,
    b"minf": 0,
    b"stbl": 0,
}  # and the bytes before their children
_SEQUENCE_HEADER = 1


def check(data: bytes) -> Structure:
    """See `check_structure`. The pixels are those of all coded images together, which are the tiles of a grid."""
    starts: list[bytes] = []
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"iloc":
            meta_data = next((start for name, start, _ in _boxes(data, 0, len(data)) if name == b"idat"), 0)
            starts += _items(data, data[start:end], meta_data)
        elif kind in (b"stco", b"co64"):
            size = 4 if kind == b"stco" else 8
            first = int.from_bytes(data[start + 8 : start + 8 + size])
            starts.append(data[first : first + _START_BYTES])
    pixels = [count for item in starts if (count := _coded_pixels(item))]
    if not pixels:
        raise UndecodableImage("the AVIF file has no coded image with a sequence header")
    return Structure(pixels=sum(pixels), weight=_WEIGHT, bytes_a_pixel=_BYTES_A_PIXEL)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The kind, the start of the content and the end of each box, those inside others too."""
    waiting, found = [(start, end)], 0
    while waiting:
        position, end = waiting.pop()
        while position + 8 <= end:
            found += 1
            if found > _MAX_BOXES:
                raise UndecodableImage(f"the AVIF file has more than {_MAX_BOXES:,} boxes")
            length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
            content = position + 8
            if length == 1:
                length, content = int.from_bytes(data[content : content + 8]), content + 8
            stop = end if length == 0 else min(end, position + length)
            yield kind, content, stop
            if kind in _PARENTS:
                waiting.append((content + _PARENTS[kind], stop))
            if stop <= position + 7:
                break
            position = stop


def _items(data: bytes, box: bytes, meta_data: int) -> Iterator[bytes]:
    """The first bytes of each item of an `iloc` box. `meta_data` is the start of the `idat` box."""
    reader = _Bits(box)
    version = reader.read(8)
    reader.read(24)
    offset_size, length_size, base_size, index_size = (8 * reader.read(4) for _ in range(4))
    count = reader.read(32 if version == 2 else 16)
    if count > _MAX_ITEMS:
        raise UndecodableImage(f"the AVIF file has more than {_MAX_ITEMS:,} items")
    for _ in range(count):
        reader.read(32 if version == 2 else 16)
        is_in_meta = version > 0 and reader.read(16) & 15 == 1
        reader.read(16)
        base = reader.read(base_size) + (meta_data if is_in_meta else 0)
        item = b""
        for _ in range(min(reader.read(16), _MAX_ITEMS)):
            if version > 0:
                reader.read(index_size)
            offset, length = base + reader.read(offset_size), reader.read(length_size)
            if len(item) < _START_BYTES:
                item += data[offset : offset + min(length or _START_BYTES, _START_BYTES)]
        yield item


def _coded_pixels(item: bytes) -> int:
    """The pixels that the first sequence header declares; 0 without one."""
    position = 0
    while position < len(item):
        head = item[position]
        position += 2 if head & 4 else 1
        size = len(item) - position
        if head & 2:
            size, shift = 0, 0
            while position < len(item) and shift < 56:
                size |= (item[position] & 127) << shift
                position, shift = position + 1, shift + 7
                if not item[position - 1] & 128:
                    break
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            return _sequence_pixels(_Bits(item[position : position + size]))
        position += size
    return 0


def _sequence_pixels(bits: "_Bits") -> int:
    """Width times height of a sequence header (AV1 5.5.1)."""
    bits.read(4)
    if bits.read(1):
        bits.read(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return (bits.read(width_bits) + 1) * (bits.read(height_bits) + 1)


def _skip_operating_points(bits: "_Bits") -> None:
    delay_bits = 0
    if bits.read(1):
        bits.read(64)
        if bits.read(1):
            zeros = 0
            while zeros < 32 and not bits.read(1):
                zeros += 1
            bits.read(zeros)
        if bits.read(1):
            delay_bits = bits.read(5) + 1
            bits.read(42)
    has_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_delay and bits.read(1):
            bits.read(4)


class _Bits:
    """Reads numbers of any length from bytes; zeros after their end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def read(self, count: int) -> int:
        start, self._position = self._position, self._position + count
        first, last = start // 8, (self._position + 7) // 8
        number = int.from_bytes(self._data[first:last].ljust(last - first, b"\0"))
        return number >> (8 * last - self._position) & ((1 << count) - 1)
