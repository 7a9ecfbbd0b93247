"""The structure of GIF files (GIF89a): the blocks before the first image."""

from hybrid_batch.data.images.decoding.pixel_budget import Structure, UndecodableImage

_EXTENSION, _IMAGE = 0x21, 0x2C
_MAX_HEADER_BYTES = 1 << 20  # Pillow joins the blocks of a comment one by one


def check(data: bytes) -> Structure:
    """See `check_structure`."""
    flags = data[10] if len(data) > 10 else 0
    start = position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while position < len(data) and data[position] != _IMAGE:
        if position - start > _MAX_HEADER_BYTES:
            raise UndecodableImage(f"the GIF file has more than {_MAX_HEADER_BYTES:,} bytes before its first image")
        if data[position] == _EXTENSION:
            position = _end_of_blocks(data, position + 2, start + _MAX_HEADER_BYTES + 1)
        else:
            position += 1
    return Structure(pixels=_image_pixels(data, position), bytes_a_pixel=1)


def _end_of_blocks(data: bytes, position: int, limit: int) -> int:
    """The position after a sequence of blocks, or one beyond `limit`."""
    while position < len(data) and position <= limit and data[position]:
        position += 1 + data[position]
    return position + 1


def _image_pixels(data: bytes, position: int) -> int:
    """The pixels of the screen, extended to contain the image whose descriptor is at `position`."""
    numbers = [int.from_bytes(data[at : at + 2], "little") for at in range(position + 1, position + 9, 2)]
    screen = [int.from_bytes(data[at : at + 2], "little") for at in (6, 8)]
    return max(screen[0], numbers[0] + numbers[2]) * max(screen[1], numbers[1] + numbers[3])
