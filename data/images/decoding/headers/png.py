"""The structure of PNG files (ISO/IEC 15948): their chunks."""

from hybrid_batch.data.images.decoding.pixel_budget import Structure, UndecodableImage

_MAX_CHUNKS = 20_000  # Pillow reads each in Python
_TEXTS = (b"zTXt", b"iTXt", b"tEXt", b"iCCP")
_LARGEST_TEXT = 1 << 20  # Pillow refuses more
_LARGEST_RATIO = 1032  # of deflate
_MAX_TEXT_BYTES = 32 << 20


def check(data: bytes) -> Structure:
    """See `check_structure`. Text counts with the size that it may have after decompression."""
    return check_at(data, 0)


def check_at(data: bytes, start: int) -> Structure:
    """The structure of a PNG that begins at `start`, with its pixels."""
    position, chunks, text_bytes = start + 8, 0, 0
    while position + 8 <= len(data):
        chunks += 1
        if chunks > _MAX_CHUNKS:
            raise UndecodableImage(f"the PNG file has more than {_MAX_CHUNKS:,} chunks")
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        if kind in _TEXTS:
            text_bytes += min(length * _LARGEST_RATIO, _LARGEST_TEXT)
        elif kind == b"IEND":
            break
        position += 12 + length
    if text_bytes > _MAX_TEXT_BYTES:
        raise UndecodableImage(f"the text in the PNG file may take {text_bytes:,} bytes, more than {_MAX_TEXT_BYTES:,}")
    width, height = int.from_bytes(data[start + 16 : start + 20]), int.from_bytes(data[start + 20 : start + 24])
    return Structure(pixels=width * height, extra_bytes=text_bytes)
