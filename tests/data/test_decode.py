import csv
import io
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.images.decode import (
    PixelSize,
    Preprocessing,
    UndecodableImage,
    decode,
    decode_sized,
    image_size,
    scale_pixels,
)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(height: int = 20, width: int = 30, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def as_is(image: np.ndarray, **options: object) -> Preprocessing:
    return Preprocessing(image.shape[0], image.shape[1], **options)


@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
@pytest.mark.parametrize("scale", ["0-255", "0-1", "-1-1"])
def test_shape_type_and_range(colour: str, scale: str) -> None:
    preprocessing = Preprocessing(7, 9, colour, scale=scale)
    array = decode(encoded(Image.fromarray(noise())), preprocessing)
    assert array.shape == (7, 9, preprocessing.channels)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert array.flags.writeable
    low, high = {"0-255": (0, 255), "0-1": (0, 1), "-1-1": (-1, 1)}[scale]
    assert low <= array.min() < array.max() <= high
    assert array.max() - array.min() > (high - low) / 10


def test_pixels_are_exact_without_resizing() -> None:
    pixels = noise()
    data = encoded(Image.fromarray(pixels))
    assert np.array_equal(decode(data, as_is(pixels)), pixels)
    assert np.array_equal(decode(data, as_is(pixels, colour="bgr")), pixels[..., ::-1])
    assert np.array_equal(decode(data, as_is(pixels, scale="0-1")), pixels.astype(np.float32) / 255)
    assert np.array_equal(decode(data, as_is(pixels, scale="-1-1")), pixels.astype(np.float32) / 127.5 - 1)


@pytest.mark.parametrize(("scale", "mode"), [("caffe", "caffe"), ("torch", "torch"), ("-1-1", "tf")])
def test_scales_are_those_of_keras(scale: str, mode: str) -> None:
    imagenet_utils = pytest.importorskip("keras.applications.imagenet_utils")
    pixels = noise()
    expected = imagenet_utils.preprocess_input(pixels.astype(np.float32), data_format="channels_last", mode=mode)
    found = decode(encoded(Image.fromarray(pixels)), as_is(pixels, scale=scale))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 if mode != "caffe" else 2e-5)


def test_bgr_reverses_the_channels_once() -> None:
    pixels = noise()
    data = encoded(Image.fromarray(pixels))
    rgb, bgr = (decode(data, as_is(pixels, colour=colour, scale="torch")) for colour in ("rgb", "bgr"))
    assert np.array_equal(rgb[..., ::-1], bgr)
    rgb, bgr = (decode(data, as_is(pixels, colour=colour, scale="caffe")) for colour in ("rgb", "bgr"))
    assert np.array_equal(rgb, bgr)


def test_scaling_works_on_batches() -> None:
    pixels = noise().astype(np.float32)
    preprocessing = as_is(pixels, scale="caffe")
    batch = scale_pixels(np.stack([pixels, pixels]), preprocessing)
    assert batch.flags.c_contiguous
    assert np.array_equal(batch[1], scale_pixels(pixels.copy(), preprocessing))


def test_squash_and_crop() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    data = encoded(Image.fromarray(pixels))
    tall = encoded(Image.fromarray(pixels.transpose(1, 0, 2)))
    assert (decode(data, Preprocessing(10, 10, resize="crop")) == 200).all()
    assert decode(data, Preprocessing(10, 10, resize="squash")).mean() == pytest.approx(200 / 3, abs=1)
    assert (decode(tall, Preprocessing(5, 5, resize="crop"))[1:4] == 200).all()
    assert (decode(data, Preprocessing(20, 20, resize="crop"))[:, 5:15] == 200).all()


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(1, 40), st.sampled_from(["squash", "crop"])
)
def test_every_size_to_every_size(height: int, width: int, to_height: int, to_width: int, resize: str) -> None:
    data = encoded(Image.new("RGB", (width, height), (10, 20, 30)))
    array = decode(data, Preprocessing(to_height, to_width, resize=resize))
    assert array.shape == (to_height, to_width, 3)
    assert (array == [10, 20, 30]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_honoured(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (16, 24))
    upright.paste((255, 0, 0), (0, 0, 8, 8))
    upright.paste((0, 255, 0), (8, 0, 16, 8))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the rotation by the camera, as Image.Transpose
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    array = decode(encoded(stored, kind, exif=exif), Preprocessing(24, 16))
    assert np.abs(array - np.asarray(upright, np.float32)).mean() < 8
    assert array[2, 2].argmax() == 0
    assert array[2, 13].argmax() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_original_size_is_upright_with_and_without_decoding(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.new("RGB", (16, 24)), kind, exif=exif)
    expected = PixelSize(24, 16) if orientation > 4 else PixelSize(16, 24)
    assert decode_sized(data, Preprocessing(4, 4)).original == image_size(data) == expected


def test_the_size_is_read_without_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(image: Image.Image) -> None:
        raise AssertionError(f"{image.format} was decoded")

    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        data = encoded(Image.new("RGB", (16, 24)), kind)
        with monkeypatch.context() as patch:
            patch.setattr("PIL.ImageFile.ImageFile.load", refuse)
            assert image_size(data) == PixelSize(16, 24), kind


def test_files_that_are_no_images_have_no_size() -> None:
    data = encoded(Image.new("RGB", (8, 8)), exif=b"Exif\0\0neither II nor MM")
    assert image_size(data) == PixelSize(8, 8)
    assert image_size(b"") is None
    assert image_size(b"no image") is None
    assert image_size(data[:20]) is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("Unsupported  BMP\nheader."), "unsupported BMP header"),
        (NotImplementedError("DXGI format"), "DXGI format"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_reasons_have_one_style(monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    def fail(_: object, formats: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UndecodableImage, match=f"^the file is damaged or not supported: {re.escape(reason)}$"):
        decode(b"BM", Preprocessing(8, 8))


@pytest.mark.parametrize("text", ["image file is truncated (8 bytes not processed)", "Truncated File Read"])
def test_truncated_files_have_one_reason(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def fail(_: object, formats: object) -> None:
        raise OSError(text)

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UndecodableImage, match=r"^the file is truncated$"):
        decode(b"BM", Preprocessing(8, 8))


def test_long_reasons_end_after_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, formats: object) -> None:
        raise ValueError(" ".join(["word"] * 100))

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UndecodableImage, match=r"word …$") as caught:
        decode(b"BM", Preprocessing(8, 8))
    assert 190 < len(str(caught.value)) <= 200


def test_too_many_pixels_are_a_sentence() -> None:
    header = encoded(Image.new("L", (8, 8)), "BMP")
    huge = header[:18] + (100_000).to_bytes(4, "little") + (100_000).to_bytes(4, "little") + header[26:]
    with pytest.raises(
        UndecodableImage, match=r"^the image has 10,000,000,000 pixels, more than 89,000,000 \(--max-pixels\)$"
    ):
        decode(huge, Preprocessing(8, 8))


def test_the_format_of_phones_is_named() -> None:
    with pytest.raises(UndecodableImage, match=r"^HEIF is not read; convert the image to JPEG or PNG$"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Preprocessing(8, 8))
    with pytest.raises(UndecodableImage, match=r"^no known image format$"):
        decode(b"\0\0\0\x18ftypisom\0\0\0\0", Preprocessing(8, 8))


def test_damaged_metadata_does_not_fail_the_image() -> None:
    data = encoded(Image.new("RGB", (8, 8), (9, 9, 9)), exif=b"Exif\0\0neither II nor MM")
    with Image.open(io.BytesIO(data)) as image, pytest.raises(SyntaxError):
        image.getexif()
    assert (decode(data, Preprocessing(8, 8)) == 9).all()


GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_values_are_kept_in_every_mode(mode: str, kind: str) -> None:
    data = encoded(Image.fromarray(GREY).convert(mode), kind)
    assert np.array_equal(decode(data, as_is(GREY, colour="grey"))[..., 0], GREY)
    assert np.array_equal(decode(data, as_is(GREY)), np.repeat(GREY[..., None], 3, axis=2))


def test_one_bit() -> None:
    bits = np.eye(8, dtype=bool)
    assert np.array_equal(decode(encoded(Image.fromarray(bits)), Preprocessing(8, 8, "grey"))[..., 0], bits * 255)


def test_16_bit_values_keep_their_range() -> None:
    wide = GREY.astype(np.uint16) * 257
    for kind in ("PNG", "TIFF", "PPM", "JPEG2000"):
        found = decode(encoded(Image.fromarray(wide), kind), as_is(GREY, colour="grey"))[..., 0]
        assert np.abs(found - GREY).max() <= 1, kind
        assert found.max() == 255


def test_grey_values_of_unknown_scale_are_stretched() -> None:
    steps = np.linspace(0, 1, 256).reshape(16, 16)
    for values in (
        (steps * 2e9 - 1e9).astype(np.int32),
        steps.astype(np.float32),
        (steps * 255).astype(np.float32),
        (steps * 7e4 - 100).astype(np.float32),
    ):
        found = decode(encoded(Image.fromarray(values), "TIFF"), Preprocessing(16, 16, "grey"))[..., 0]
        assert np.abs(found - GREY).max() <= 1


def test_nan_becomes_a_finite_value() -> None:
    values = np.full((4, 4), np.nan, np.float32)
    assert np.isfinite(decode(encoded(Image.fromarray(values), "TIFF"), Preprocessing(4, 4))).all()


def test_alpha_is_dropped_not_blended() -> None:
    image = Image.new("RGBA", (4, 4), (200, 100, 50, 0))
    assert (decode(encoded(image), Preprocessing(4, 4)) == [200, 100, 50]).all()


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_transparent_colour_changes_nothing(mode: str) -> None:
    image = Image.fromarray(GREY).convert(mode)
    options = {"transparency": (0, 0, 0) if mode == "RGB" else b"\x00\x80" if mode == "P" else 0}
    for colour in ("rgb", "grey"):
        preprocessing = as_is(GREY, colour=colour)
        assert np.array_equal(decode(encoded(image, **options), preprocessing), decode(encoded(image), preprocessing))


def test_cmyk() -> None:
    ink = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for data in (encoded(ink, "JPEG"), encoded(ink, "TIFF")):
        assert np.abs(decode(data, Preprocessing(16, 16)) - [0, 255, 255]).max() < 4


def test_colour_to_grey_is_luma() -> None:
    data = encoded(Image.new("RGB", (4, 4), (255, 0, 0)))
    assert (decode(data, Preprocessing(4, 4, "grey")) == 76).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_animations(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(decode(data, Preprocessing(8, 8)) - [250, 0, 0]).max() < 8


BOMB = """
import sys
from hybrid_batch.data.images.decode import Preprocessing, UndecodableImage, decode
try:
    decode(open(sys.argv[1], "rb").read(), Preprocessing(8, 8))
except UndecodableImage as error:
    print(error)
"""


@pytest.mark.parametrize("size", [(10_000, 10_000), (14_000, 14_000)])
def test_decompression_bombs_are_rejected(tmp_path: Path, size: tuple[int, int]) -> None:
    # In its own process, because pytest turns warnings into errors.
    Image.new("1", size).save(tmp_path / "bomb.png", compress_level=1)
    program = [sys.executable, "-c", BOMB, tmp_path / "bomb.png"]
    result = subprocess.run(program, capture_output=True, text=True, check=True)
    assert re.match(r"the image has [\d,]+ pixels, more than", result.stdout)
    assert result.stderr == ""


def test_postscript_is_not_executed() -> None:
    with pytest.raises(UndecodableImage, match="EPS"):
        decode(encoded(Image.new("RGB", (8, 8)), "EPS"), Preprocessing(8, 8))


def test_messages_are_short_lines() -> None:
    for data, message in ((b"", "the file is empty"), (b"no image\nat all", "no known image format")):
        with pytest.raises(UndecodableImage, match=f"^{message}$"):
            decode(data, Preprocessing(8, 8))


SEEDS = [
    encoded(Image.fromarray(noise()), kind)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM", "TGA", "ICO", "PCX", "SGI", "DDS")
]


@given(st.sampled_from(SEEDS), st.randoms(use_true_random=False), st.integers(0, 8), st.booleans())
def test_damaged_images_decode_or_raise_undecodable(data: bytes, rng: random.Random, flips: int, cut: bool) -> None:
    damaged = bytearray(data[: rng.randrange(len(data))] if cut else data)
    for _ in range(flips):
        if damaged:
            damaged[rng.randrange(min(len(damaged), 400))] = rng.randrange(256)
    try:
        array = decode(bytes(damaged), Preprocessing(8, 8))
    except UndecodableImage as error:
        assert 0 < len(str(error)) <= 200
        assert "\n" not in str(error)
    else:
        assert array.shape == (8, 8, 3)
        assert np.isfinite(array).all()


@given(st.binary(max_size=300))
def test_random_bytes_raise_undecodable(data: bytes) -> None:
    with pytest.raises(UndecodableImage):
        decode(data, Preprocessing(8, 8))


def test_decoding_is_thread_safe() -> None:
    preprocessing = Preprocessing(8, 8, scale="-1-1")
    data = [*SEEDS, b"broken", SEEDS[0][:60]] * 20

    def outcome(file: bytes) -> bytes:
        try:
            return decode(file, preprocessing).tobytes()
        except UndecodableImage as error:
            return str(error).encode()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(outcome, data)) == [outcome(file) for file in data]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 0}, "positive"),
        ({"colour": "blue"}, "No colour 'blue'; choose one of rgb, bgr, grey"),
        ({"resize": "pad"}, "choose one of squash, crop"),
        ({"scale": "0-2"}, "choose one of 0-255, 0-1, -1-1, caffe, torch"),
        ({"colour": "grey", "scale": "torch"}, "three colours"),
        ({"height": 8.0}, "sizes as integers"),
        ({"height": True}, "sizes as integers"),
        ({"colour": ["rgb"]}, "No colour"),
        ({"more": 1}, "Input preprocessing has"),
    ],
)
def test_invalid_preprocessing(change: dict[str, object], message: str) -> None:
    whole = Preprocessing(8, 8).to_dict()
    assert Preprocessing.from_dict(whole) == Preprocessing(8, 8)
    with pytest.raises(WrongUsage, match=message):
        Preprocessing.from_dict(whole | change)


def test_incomplete_preprocessing() -> None:
    for name in ("height", "scale"):
        whole = Preprocessing(8, 8).to_dict()
        del whole[name]
        with pytest.raises(WrongUsage, match="Input preprocessing has"):
            Preprocessing.from_dict(whole)


def test_every_edge_image_is_read_as_expected(shared_data: Path) -> None:
    with (shared_data / "expected" / "edge.csv").open() as file:
        expected = {row["image"]: row["pillow"] == "ok" for row in csv.DictReader(file)}
    folder = shared_data / "images" / "edge"
    readable = {}
    for path in folder.iterdir():
        began = time.thread_time()  # CPU time, independent of other load
        try:
            decode(path.read_bytes(), Preprocessing(64, 64))
            readable[path.name] = True
        except UndecodableImage:
            readable[path.name] = False
        assert time.thread_time() - began < 30, path
    assert len(readable) == 97
    assert readable == expected


DECODE_ALL = """
import sys
from pathlib import Path
from hybrid_batch.data.images.decode import Preprocessing, UndecodableImage, decode
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        decode(path.read_bytes(), Preprocessing(64, 64))
    except UndecodableImage:
        pass
if sys.platform == "linux":
    print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_edge_images_print_nothing_and_limit_memory(shared_data: Path) -> None:
    program = [sys.executable, "-c", DECODE_ALL, shared_data / "images" / "edge"]
    result = subprocess.run(program, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    # The largest, a strip of 84 million rows just below the limit, needs 700 MB, most of it for pointers to rows.
    # (Not `ru_maxrss`: on Linux it includes the memory of the parent at the fork.)
    assert int(result.stdout or 0) < 1_000_000


MODELS = {
    "imagenet": ("imagenet_mobilenet_v1_025_224.keras", Preprocessing(224, 224, scale="-1-1")),
    "fer": ("fer_mini_xception.hdf5", Preprocessing(64, 64, "grey", scale="-1-1")),
    "cifar10": ("cifar10_resnet8.h5", Preprocessing(32, 32)),
    "mnist": ("mnist_cnn.keras", Preprocessing(28, 28, "grey", scale="0-1")),
}
PREDICT = """
import sys, numpy as np
for model, inputs in zip(sys.argv[1::2], sys.argv[2::2]):
    if model.endswith(".keras"):
        import keras
    else:
        import tf_keras as keras
    model = keras.models.load_model(model, compile=False)
    np.save(inputs, model.predict(np.load(inputs), verbose=0))
"""


def test_predictions_equal_those_of_keras(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", exc_type=ImportError)
    expected, program = {}, [sys.executable, "-c", PREDICT]
    for images, (model, preprocessing) in MODELS.items():
        with (shared_data / "expected" / f"{images}.csv").open() as file:
            expected[images] = list(csv.DictReader(file))
        files = (shared_data / "images" / images / row["image"] for row in expected[images])
        np.save(tmp_path / f"{images}.npy", np.stack([decode(file.read_bytes(), preprocessing) for file in files]))
        program += [str(shared_data / "models" / model), str(tmp_path / f"{images}.npy")]
    subprocess.run(program, check=True, capture_output=True)
    for images, rows in expected.items():
        classes = (shared_data / "labels" / f"{images}.txt").read_text().split("\n")
        scores = np.load(tmp_path / f"{images}.npy")
        assert [classes[index] for index in scores.argmax(axis=1)] == [row["prediction"] for row in rows]
        probabilities = [float(row["probability"]) for row in rows]
        np.testing.assert_allclose(scores.max(axis=1), probabilities, rtol=0, atol=1e-5)
