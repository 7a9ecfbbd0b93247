"""The image formats that are read, and the checks of each before Pillow opens a file."""

from collections.abc import Callable
from importlib import import_module

from PIL import Image

from hybrid_batch.data.images.decoding.headers import avif, containers, gif, jpeg, jpeg2000, png, tiff, webp
from hybrid_batch.data.images.decoding.pixel_budget import Structure, UndecodableImage

Check = Callable[[bytes], Structure]


def _plain(_: bytes) -> Structure:
    return Structure()


# Pillow's name of a format: its plugin, the first bytes of its files (none: any), and its check. Formats that run
# programs, that open other files, or that Pillow only identifies, are not among them, nor rare formats decoded in
# Python.
FORMATS: dict[str, tuple[str, tuple[bytes, ...], Check]] = {
    "JPEG": ("Jpeg", (b"\xff\xd8\xff",), jpeg.check),
    "PNG": ("Png", (b"\x89PNG\r\n\x1a\n",), png.check),
    "TIFF": ("Tiff", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*"), tiff.check),
    "WEBP": ("WebP", (b"RIFF",), webp.check),
    "GIF": ("Gif", (b"GIF87a", b"GIF89a"), gif.check),
    "BMP": ("Bmp", (b"BM",), _plain),
    "JPEG2000": ("Jpeg2K", (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"), jpeg2000.check),
    "AVIF": ("Avif", (), avif.check),
    "PPM": ("Ppm", (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P0CMYK", b"Pf", b"PF", b"Py"), _plain),
    "ICO": ("Ico", (b"\0\0\1\0",), containers.check_ico),
    "ICNS": ("Icns", (b"icns",), containers.check_icns),
    "PSD": ("Psd", (b"8BPS",), containers.check_psd),
    "DDS": ("Dds", (b"DDS ",), _plain),
    "QOI": ("Qoi", (b"qoif",), _plain),
    "SGI": ("Sgi", (b"\x01\xda",), lambda _: Structure(bytes_a_pixel=2)),
    "PCX": ("Pcx", (b"\n\0", b"\n\2", b"\n\3", b"\n\5"), _plain),
    "FLI": ("Fli", (), containers.check_fli),
    "TGA": ("Tga", (), _plain),
}
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_EPS = (b"%!PS", b"\xc5\xd0\xd3\xc6")


def find_format(data: bytes) -> str:
    """Pillow's name of the format of a file, whose plugin is then loaded. Raises UndecodableImage for a format that is
    not read."""
    if data.startswith(_EPS):  # Pillow would run Ghostscript on an untrusted file
        raise UndecodableImage("EPS files are programs, not images")
    name = _find(data)
    if name is None:
        raise UndecodableImage(_unknown_format(data))
    if name not in Image.OPEN:
        import_module(f"PIL.{FORMATS[name][0]}ImagePlugin")
    return name


def check_structure(data: bytes, name: str) -> Structure:
    """The structure of a file of a format. Raises UndecodableImage if Pillow would do more work, to open or decode it,
    than the pixels need."""
    return FORMATS[name][2](data)


def _unknown_format(data: bytes) -> str:
    if not data:
        return "the file is empty"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIF is not read; convert the image to JPEG or PNG"
    return "no known image format"


def _find(data: bytes) -> str | None:
    for name, (_, starts, _) in FORMATS.items():
        if starts and data.startswith(starts):
            return name
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:12] in _AVIF_BRANDS or b"avif" in data[16:64] else None
    if data[4:6] in (b"\x11\xaf", b"\x12\xaf"):
        return "FLI"
    return "TGA" if containers.looks_like_tga(data) else None
