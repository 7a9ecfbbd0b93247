"""Image files that cost more than their pixels, and the same pixels for all others."""

import io
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hybrid_batch.data.images.decode import Preprocessing, UndecodableImage, decode, decode_sized
from hybrid_batch.data.images.decoding import conversion, opened_image
from hybrid_batch.data.images.decoding.opened_image import open_image
from hybrid_batch.data.images.decoding.pixel_budget import MEGA, SERVER_BUDGET, PixelBudget

SMALL = Preprocessing(32, 32)
CPU_S = 2.0  # of a refusal; decoding most of these files takes time or memory without a limit as they grow


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


def overlapping_tags(count: int, size: int) -> bytes:
    """A directory of `count` tags, each with the same `size` bytes as its value."""
    entries = b"".join(struct.pack("<HHLL", 1000 + tag, 7, size, 8) for tag in range(count))
    return b"II*\0" + struct.pack("<LH", 8, count) + entries + bytes(4) + bytes(size)


def jpeg_with(segments: bytes) -> bytes:
    data = encoded(Image.new("RGB", (8, 8)), "JPEG")
    return data[:2] + segments + data[2:]


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def png_with(chunks: bytes) -> bytes:
    data = encoded(Image.new("RGB", (8, 8)), "PNG")
    return data[:33] + chunks + data[33:]


def progressive(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encoded(Image.new("RGB", (side, side)), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * scans + b"\xff\xd9"


def tiff(**tags: int) -> bytes:
    """A grey TIFF of 64 x 64 pixels with the given tags changed."""
    numbers = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262, "strips": 273}
    numbers |= {"samples": 277, "rows": 278, "strip_bytes": 279, "tile_width": 322, "tile_height": 323, "tiles": 324}
    values = {"width": 64, "height": 64, "bits": 8, "compression": 8, "photometric": 1, "samples": 1} | tags
    counts = {"strips": tags.get("strips", 1), "strip_bytes": tags.get("strips", 1)}
    values = {name: 8 if name in ("strips", "tiles", "strip_bytes") else value for name, value in values.items()}
    entries = sorted((numbers[name], counts.get(name, 1), value) for name, value in values.items())
    packed = b"".join(struct.pack("<HHLL", tag, 4, count, value) for tag, count, value in entries)
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + packed + bytes(4) + bytes(4_000_000)


def jpeg2000(width: int, height: int, **options: object) -> bytes:
    return encoded(Image.new("L", (width, height)), "JPEG2000", no_jp2=True, **options)


def with_layers(data: bytes, layers: int) -> bytes:
    """A JPEG 2000 file whose header declares another number of layers."""
    start = data.index(b"\xff\x52") + 6
    return data[:start] + layers.to_bytes(2) + data[start + 2 :]


def icns_of_one_byte_blocks(size: int) -> bytes:
    return b"icns" + size.to_bytes(4) + b"xxxx" + (1).to_bytes(4) * (size // 4)


def with_tag_twice(data: bytes, tag: int, first: int) -> bytes:
    """A TIFF whose directory is moved to the end, with another value of a tag before its own."""
    (start,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = [data[start + 2 + 12 * number : start + 14 + 12 * number] for number in range(count)]
    place = next(number for number, entry in enumerate(entries) if entry.startswith(tag.to_bytes(2, "little")))
    entries.insert(place, struct.pack("<HHLL", tag, 4, 1, first))
    directory = struct.pack("<H", count + 1) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<L", len(data)) + data[8:] + directory


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "many JPEG segments": (lambda: jpeg_with(segment(0xFE, b"") * 500_000), "4,096 segments"),
    "padding between JPEG markers": (lambda: jpeg_with(b"\xff" * 4_000_000), "4,096 segments"),
    "junk between JPEG markers": (lambda: jpeg_with(segment(0xFE, b"") + bytes(4_000_000)), "4,096 segments"),
    "EXIF in hundreds of segments": (
        lambda: jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 300),
        "bytes of EXIF",
    ),
    "EXIF tags that share one value": (
        lambda: jpeg_with(segment(0xE1, b"Exif\0\0" + overlapping_tags(3000, 25_000))),
        "values of the tags take",
    ),
    "MPF tags that share one value": (
        lambda: jpeg_with(segment(0xE2, b"MPF\0" + overlapping_tags(3000, 25_000))),
        "values of the tags take",
    ),
    "scans of a progressive JPEG": (lambda: progressive(1200, 800), "take 51 times as long|51 times as slowly"),
    "TIFF tags that share one value": (lambda: overlapping_tags(4000, 2_000_000), "values of the tags take"),
    "TIFF strips": (lambda: tiff(strips=200_000, rows=1), "strips or tiles"),
    "a TIFF tile of 4 gigabytes": (lambda: tiff(tile_width=65_536, tile_height=65_536, tiles=8), "has 4,294,967,296"),
    "narrow TIFF in wide tiles": (
        lambda: tiff(width=1, height=900_000, tile_width=65_536, tile_height=16, tiles=8),
        "pixels, more",
    ),
    "a tag that two libraries read differently": (
        lambda: with_tag_twice(encoded(Image.new("L", (64, 64)), "TIFF", compression="tiff_lzw"), 278, 1 << 30),
        "twice",
    ),
    "a TIFF of a codec with unbounded memory": (lambda: tiff(compression=34_887), "TIFF compression 34887"),
    "chunks of a PNG": (lambda: png_with(chunk(b"abCd", b"") * 300_000), "20,000 chunks"),
    "text of a PNG": (
        lambda: png_with(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20))) * 60),
        "text in the PNG",
    ),
    "the comment of a GIF": (
        lambda: encoded(Image.new("P", (8, 8)), "GIF")[:13] + bytes(768) + b"!\xfe" + (b"\xff" + bytes(255)) * 40_000,
        "bytes before its first image",
    ),
    "blocks of an ICNS": (lambda: icns_of_one_byte_blocks(4_000_000), "1,024 parts"),
    "code blocks of 4 x 4": (lambda: jpeg2000(2000, 2000, codeblock_size=(4, 4)), "computes"),
    "layers of a JPEG 2000": (lambda: with_layers(jpeg2000(900, 900, precinct_size=(64, 64)), 65_535), "computes"),
    "a JPEG 2000 without lower resolutions": (lambda: jpeg2000(2000, 2000, num_resolutions=1), "32 times as slowly"),
    "a decoder in Python": (lambda: encoded(Image.new("RGB", (2000, 2000)), "QOI"), "16 times as slowly"),
    "a very long image": (
        lambda: b"BM" + bytes(12) + struct.pack("<LllHH", 40, 1, 2_000_000, 1, 8) + bytes(1100),
        "side",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_cost_more_than_their_pixels_are_refused_before_decoding(name: str) -> None:
    make, message = HOSTILE[name]
    data = make()
    began = time.thread_time()
    with pytest.raises(UndecodableImage, match=message) as caught:
        decode(data, SMALL, SERVER_BUDGET)
    assert time.thread_time() - began < CPU_S
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xc5\xd0\xd3\xc6"])
def test_programs_are_not_opened(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(UndecodableImage, match="programs"):
        decode(start + bytes(100), SMALL)


@pytest.mark.parametrize(
    "data",
    [
        b"\xd7\xcd\xc6\x9a\0\0" + bytes(100),  # WMF
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        b"BLP2" + bytes(200),
        b"SIMPLE  =                    T" + bytes(2880),  # FITS
        b"\0\0\2\0\1\0" + bytes(100),  # CUR
        b"\x1c\1\x3c\0\4" + bytes(100),  # IPTC, which opens another file inside
        b"/* XPM */\n" + bytes(100),
    ],
)
def test_formats_that_are_not_listed_load_no_plugin(data: bytes) -> None:
    before = set(Image.OPEN)
    with pytest.raises(UndecodableImage, match=r"^no known image format$"):
        decode(data, SMALL)
    assert set(Image.OPEN) == before


MEMORY = """
import sys
from pathlib import Path
from hybrid_batch.data.images.decode import Preprocessing, UndecodableImage, decode

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1000

data, before = Path(sys.argv[1]).read_bytes(), peak()
try:
    decode(data, Preprocessing(32, 32))
except UndecodableImage as error:
    print(error, file=sys.stderr)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("mode", "kind", "options", "most_mb"),
    [
        ("F", "TIFF", {"compression": "tiff_lzw"}, 250),  # was 700: copies of 8 bytes a pixel
        ("CMYK", "TIFF", {"compression": "tiff_lzw"}, 230),
        ("I;16", "PNG", {}, 190),
    ],
)
def test_decoding_takes_little_memory_beside_the_pixels(
    tmp_path: Path, mode: str, kind: str, options: dict[str, str], most_mb: int
) -> None:
    path = tmp_path / "image"
    path.write_bytes(encoded(Image.new(mode, (4900, 4900)), kind, **options))
    result = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert int(result.stdout) < most_mb


def gradient(width: int, height: int) -> Image.Image:
    """A smooth image of three different colours."""
    across = np.linspace(0, 255, width, dtype=np.uint8)[None, :].repeat(height, 0)
    down = np.linspace(0, 255, height, dtype=np.uint8)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([across, down, 255 - across], axis=2))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 90}), ("JPEG2000", {}), ("PNG", {}), ("TIFF", {})])
def test_large_images_are_reduced_to_almost_the_same_pixels(
    kind: str, options: dict[str, object], orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind != "JPEG2000":
        options = options | {"exif": exif}
    data = encoded(gradient(600, 400), kind, **options)
    whole = decode_sized(data, SMALL)
    monkeypatch.setattr(opened_image, "LARGEST_DECODED", 30_000)
    monkeypatch.setattr(opened_image, "LARGEST_DECODED_JPEG2000", 30_000)
    reduced = decode_sized(data, SMALL)
    assert reduced.original == whole.original
    assert 0 < np.abs(reduced.pixels - whole.pixels).max() < 12


@pytest.mark.parametrize("mode", ["F", "I", "I;16", "L", "P", "CMYK", "RGBA", "1"])
def test_bands_give_the_pixels_of_the_whole_image(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if mode in ("F", "I"):
        values = np.random.default_rng(0).normal(0, 1e5, (70, 50))
        image = Image.fromarray(values.astype(np.float32 if mode == "F" else np.int32))
    else:
        image = gradient(50, 70).convert("L" if mode == "I;16" else mode)
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if mode == "I;16" else image
    whole, halved = np.asarray(conversion.convert(image, "RGB")), conversion.convert(image, "RGB").reduce(2)
    monkeypatch.setattr(conversion, "_BAND_PIXELS", 300)
    assert np.array_equal(np.asarray(conversion.convert(image, "RGB")), whole)
    assert np.array_equal(np.asarray(conversion.convert_reduced(image, "RGB", 2)), np.asarray(halved))


def test_the_budget_is_the_option() -> None:
    data = encoded(Image.new("L", (1500, 1000)), "PNG")
    with pytest.raises(
        UndecodableImage, match=r"^the image has 1,500,000 pixels, more than 1,000,000 \(--max-pixels\)$"
    ):
        decode(data, SMALL, PixelBudget(MEGA))
    assert decode(data, SMALL, PixelBudget(2 * MEGA)).shape == (32, 32, 3)


def test_a_cost_counts_scans_and_coefficients() -> None:
    plain, scans = (open_image(data, SERVER_BUDGET).cost for data in (progressive(400, 1), progressive(400, 100)))
    assert scans.work >= 6 * plain.work
    baseline = open_image(encoded(Image.new("RGB", (400, 400)), "JPEG"), SERVER_BUDGET).cost
    assert baseline.peak_bytes <= plain.peak_bytes


def test_signalling_nan_gives_no_warning() -> None:
    values = np.full((4, 4), 0x7FA00000, np.uint32).view(np.float32)
    assert np.isfinite(decode(encoded(Image.fromarray(values), "TIFF"), SMALL)).all()


def test_the_coded_size_of_an_avif_counts_not_that_of_its_container() -> None:
    data = encoded(Image.new("RGB", (1200, 1000)), "AVIF", speed=10)
    start = data.index(b"ispe") + 8
    small = data[:start] + (64).to_bytes(4) * 2 + data[start + 8 :]
    with pytest.raises(UndecodableImage, match="1,200,000 pixels, more than 1,000,000"):
        decode(small, SMALL, PixelBudget(MEGA))
    hidden = data.replace(b"iloc", b"iiii")
    with pytest.raises(UndecodableImage, match="no coded image"):
        decode(hidden, SMALL)
