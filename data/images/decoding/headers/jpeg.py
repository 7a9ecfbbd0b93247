"""The structure of JPEG files (ITU-T T.81): their segments and scans."""

from dataclasses import dataclass

from hybrid_batch.data.images.decoding.headers.ifd import check_tags, first_directory
from hybrid_batch.data.images.decoding.pixel_budget import Structure, UndecodableImage

_MAX_SEGMENTS = 4096
_MAX_JUNK_BYTES = 4096
_MAX_EXIF_BYTES = 1 << 20  # Pillow joins segments one by one
_SCANS = 16  # of a usual progressive file at most 10
_BUFFER_BYTES = 0.2  # for each pixel
_SCAN, _APP1, _APP2 = 0xDA, 0xE1, 0xE2
_EXIF, _MPF = b"Exif\0\0", b"MPF\0"
_NO_LENGTH = frozenset((0x00, 0x01, 0xC8, 0xFF, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_HALVINGS = 3


@dataclass(slots=True)
class _Frame:
    """The frame header: its marker, its number of components, and the bytes of its coefficients for each pixel."""

    marker: int = 0
    components: int = 0
    bytes_a_pixel: float = 0.0


def check(data: bytes) -> Structure:
    """See `check_structure`. Several scans make the decoder hold all coefficients and pass over them for each scan."""
    position, segments, junk = 2, 0, 0
    frame, exif = _Frame(), b""
    while (start := data.find(b"\xff", position)) >= 0 and start + 4 <= len(data):
        junk += start - position
        segments += 1
        if junk > _MAX_JUNK_BYTES or segments > _MAX_SEGMENTS:
            raise UndecodableImage(f"the JPEG file has more than {_MAX_SEGMENTS:,} segments before its pixels")
        marker, position = data[start + 1], start + 2
        if marker == 0xFF:
            position -= 1
        if marker in _NO_LENGTH:
            continue
        length = int.from_bytes(data[position : position + 2])
        if marker == _SCAN:
            break
        segment = data[position + 2 : position + length]
        if marker in _FRAMES:
            frame = _read_frame(marker, segment)
        elif marker == _APP1 and segment.startswith(_EXIF):
            exif += segment[len(_EXIF) :]
            if len(exif) > _MAX_EXIF_BYTES:
                raise UndecodableImage(f"the JPEG file has more than {_MAX_EXIF_BYTES:,} bytes of EXIF")
        elif marker == _APP2 and segment.startswith(_MPF):
            check_tags(segment[len(_MPF) :], first_directory(segment[len(_MPF) :]))
        position += max(length, 2)
    check_tags(exif, first_directory(exif))
    return _structure(data, position, frame)


def _read_frame(marker: int, segment: bytes) -> _Frame:
    factors = [factor for factor in segment[7::3] if factor & 15 and factor >> 4]
    if not factors:
        return _Frame(marker)
    largest = max(factor >> 4 for factor in factors) * max(factor & 15 for factor in factors)
    samples = sum((factor >> 4) * (factor & 15) for factor in factors) / largest
    return _Frame(marker, len(factors), 2 * samples)


def _structure(data: bytes, position: int, frame: _Frame) -> Structure:
    """The structure of a file whose first scan header is at `position`."""
    is_split = data[position + 2 : position + 3] < bytes([min(frame.components, 255)])
    if frame.marker not in _PROGRESSIVE and not is_split:
        return Structure(bytes_a_pixel=_BUFFER_BYTES, halvings=_HALVINGS)
    scans = data.count(b"\xff\xda", position - 2)
    weight = max(1, -(-scans // _SCANS))
    return Structure(weight=weight, bytes_a_pixel=frame.bytes_a_pixel + _BUFFER_BYTES, halvings=_HALVINGS)
