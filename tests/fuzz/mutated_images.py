"""Decodes mutated images of every format within the budget of a server, and prints the totals as JSON.

Arguments: seed, number of images, MB that decoding may take beyond what the process held before. Exits with 1 at an
image that takes more memory or time than its budget allows, that raises another error than UndecodableImage, or whose
error is not one line; the image is then in the file that stderr names."""

import io
import json
import os
import random
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from hybrid_batch.data.images.decode import Preprocessing, UndecodableImage, decode, image_size
from hybrid_batch.data.images.decoding.headers.formats import FORMATS
from hybrid_batch.data.images.decoding.pixel_budget import SERVER_BUDGET

MOST_CPU_S = 8.0  # a budget allows about 2 s on one processor
EXTREMES = (b"\0\0", b"\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\0\0\1\0", b"\1\0\0\0")
SIZES = (0, 1, 255, 256, 8192, 16_383, 65_535, 65_536, 1 << 20, 1 << 24, (1 << 31) - 1, (1 << 32) - 1)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def seeds() -> dict[str, list[bytes]]:
    """Small files of every format, in several kinds of each."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    colour = Image.fromarray(pixels)
    grey, palette, bit = colour.convert("L"), colour.quantize(16), colour.convert("1")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    real = Image.fromarray(np.asarray(grey).astype(np.float32))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "JPEG": [
            encoded(colour, "JPEG", exif=exif),
            encoded(colour, "JPEG", progressive=True),
            encoded(grey, "JPEG"),
            encoded(colour.convert("CMYK"), "JPEG"),
            encoded(colour, "MPO", save_all=True, append_images=[colour]),
        ],
        "PNG": [
            *(encoded(image, "PNG", exif=exif) for image in (colour, grey, palette, bit, wide)),
            encoded(colour, "PNG", save_all=True, append_images=[grey.convert("RGB")]),
        ],
        "TIFF": [
            *(encoded(image, "TIFF") for image in (colour, wide, real, palette, bit, colour.convert("CMYK"))),
            *(
                encoded(colour, "TIFF", compression=name)
                for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")
            ),
            encoded(bit, "TIFF", compression="group4"),
            encoded(colour, "TIFF", save_all=True, append_images=[colour] * 3),
            encoded(colour, "TIFF", big_tiff=True, tiffinfo={322: 16, 323: 16}),
        ],
        "WEBP": [
            encoded(colour, "WEBP", exif=exif),
            encoded(colour, "WEBP", lossless=True),
            encoded(colour, "WEBP", save_all=True, append_images=[colour.rotate(180)]),
        ],
        "GIF": [
            encoded(palette, "GIF", comment=b"x" * 300),
            encoded(palette, "GIF", save_all=True, append_images=[grey]),
        ],
        "JPEG2000": [
            encoded(colour, "JPEG2000", num_resolutions=3),
            encoded(grey, "JPEG2000", no_jp2=True, num_resolutions=2, tile_size=(16, 16)),
            encoded(wide, "JPEG2000", num_resolutions=2, codeblock_size=(4, 4), precinct_size=(16, 16)),
        ],
        "AVIF": [encoded(colour, "AVIF", speed=10), encoded(colour.convert("RGBA"), "AVIF", speed=10)],
        "ICNS": [encoded(colour.resize((32, 32)), "ICNS")],
        "ICO": [encoded(colour, "ICO"), encoded(colour, "ICO", bitmap_format="bmp")],
        "TGA": [encoded(colour, "TGA"), encoded(palette, "TGA", compression="tga_rle")],
        "SGI": [encoded(colour, "SGI"), encoded(colour, "SGI", bpc=2)],
        "DDS": [encoded(colour, "DDS"), encoded(colour.convert("RGBA").resize((32, 32)), "DDS", pixel_format="DXT5")],
        "PPM": [encoded(image, "PPM") for image in (colour, wide, bit, real)] + [b"P3 2 2 255 " + b"1 2 3 " * 4],
        "BMP": [encoded(image, "BMP") for image in (colour, palette, bit)] + [_run_lengths()],
        "PCX": [encoded(image, "PCX") for image in (colour, palette, bit)],
        "QOI": [encoded(colour, "QOI")],
        "PSD": [_psd()],
        "FLI": [_fli()],
    }
    assert files.keys() == FORMATS.keys()
    return files


def _run_lengths() -> bytes:
    """A bitmap of run lengths."""
    palette = b"".join(struct.pack("<L", number) for number in range(256))
    rows = b"\x08\x05\0\0" * 8 + b"\0\1"
    header = struct.pack("<LllHHLLllLL", 40, 8, 8, 1, 8, 1, len(rows), 1, 1, 256, 0)
    return b"BM" + struct.pack("<LLL", 54 + 1024 + len(rows), 0, 54 + 1024) + header + palette + rows


def _psd() -> bytes:
    resource_block = b"8BIM" + struct.pack(">HHL", 1005, 0, 16) + bytes(16)
    header = b"8BPS" + struct.pack(">H6xHLLHH", 1, 3, 8, 8, 8, 3)
    return header + bytes(4) + struct.pack(">L", len(resource_block)) + resource_block + bytes(4) + bytes(2 + 192)


def _fli() -> bytes:
    chunk = struct.pack("<LH", 6 + 64, 16) + bytes(64)
    frame = struct.pack("<LHH8x", 16 + len(chunk), 0xF1FA, 1) + chunk
    return struct.pack("<LHHHHHHL", 128 + len(frame), 0xAF11, 1, 8, 8, 8, 3, 70) + bytes(108) + frame


def mutated(random_: random.Random, data: bytes, other: bytes) -> bytes:
    """The file with a few changes, most of them in its first bytes."""
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 3, 8))):
        limit = len(changed) if random_.random() < 0.4 else min(len(changed), 200)
        place = random_.randrange(max(1, limit))
        match random_.randrange(8):
            case 0 | 1:
                changed[place : place + 1] = bytes([random_.randrange(256)])
            case 2:
                extreme = random_.choice(EXTREMES)
                changed[place : place + len(extreme)] = extreme
            case 3:
                size, order = random_.choice(SIZES), random_.choice(("<", ">"))
                changed[place : place + 4] = struct.pack(f"{order}L", size)
            case 4:
                del changed[place:]
            case 5:
                end = place + random_.randrange(1, 64)
                changed[place:place] = changed[place:end] * random_.choice((1, 2, 50))
            case 6:
                start = random_.randrange(len(other))
                changed[place:place] = other[start : start + 64]
            case 7:
                del changed[place : place + random_.randrange(1, 16)]
    return _with_checksums(bytes(changed)) if random_.random() < 0.7 else bytes(changed)


def _with_checksums(data: bytes) -> bytes:
    """A PNG with right checksums, so that mutations reach what is behind them."""
    if not data.startswith(b"\x89PNG"):
        return data
    fixed, place = bytearray(data), 8
    while place + 12 <= len(fixed):
        length = int.from_bytes(fixed[place : place + 4])
        end = place + 8 + length
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = zlib.crc32(fixed[place + 4 : end]).to_bytes(4)
        place = end + 4
    return bytes(fixed)


def peak_mb() -> int:
    """The largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


def outcome(data: bytes, number: int) -> str:
    """How a file was decoded or refused. Raises AssertionError for any other end."""
    began = time.thread_time()
    preprocessing = Preprocessing(
        16, 16, "grey" if number % 3 == 0 else "rgb", resize="crop" if number % 2 else "squash"
    )
    if number % 10 == 0:
        image_size(data, SERVER_BUDGET)
    try:
        pixels = decode(data, preprocessing, SERVER_BUDGET)
    except UndecodableImage as error:
        text = str(error)
        assert 0 < len(text) <= 200, text
        assert text.isprintable(), text
        found = "over the budget" if "more than" in text else "refused"
    else:
        assert np.isfinite(pixels).all()
        found = "decoded"
    assert time.thread_time() - began < MOST_CPU_S, f"{time.thread_time() - began:.1f} s"
    return found


def main() -> None:
    """Decode the images and print the totals."""
    seed, count, most_mb = map(int, sys.argv[1:])
    random_, files = random.Random(seed), seeds()
    names, everything = list(files), [file for kind in files.values() for file in kind]
    for file in everything:
        decode(file, Preprocessing(16, 16), SERVER_BUDGET)
    before, outcomes, slowest = peak_mb(), {name: Counter[str]() for name in names}, 0.0
    for number in range(count):
        name = names[number % len(names)]
        data = mutated(random_, random_.choice(files[name]), random_.choice(everything))
        began = time.thread_time()
        try:
            outcomes[name][outcome(data, number)] += 1
            assert peak_mb() - before < most_mb, f"{peak_mb() - before} MB"
        except Exception:
            handle, path = tempfile.mkstemp(prefix=f"mutated-{name}-")
            os.close(handle)
            Path(path).write_bytes(data)
            sys.stderr.write(f"image {number} of seed {seed}, {name}: {path}\n")
            raise
        slowest = max(slowest, time.thread_time() - began)
    totals = {"seed": seed, "mb": peak_mb() - before, "slowest_s": round(slowest, 2)}
    sys.stdout.write(json.dumps(totals | {"outcomes": outcomes}))


if __name__ == "__main__":
    main()
