"""Codecs below eight bits: their documented errors for any values, and the size of their bytes."""

import math
import struct
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hybrid_batch.data.errors import InvalidFrame, WrongUsage
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.protocol.codecs import calibrated, quantised, wire_tensors
from hybrid_batch.inference.protocol.codecs.calibrated import Grid, save_grids
from hybrid_batch.inference.protocol.codecs.entropy import coder, context_model
from hybrid_batch.inference.protocol.codecs.entropy.lanes import Lanes
from hybrid_batch.inference.protocol.wire import Frame

FP32 = np.dtype("<f4")
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=12)
ANY = st.sampled_from(["<f2", "<f4", "<f8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, SHAPES, elements=st.floats(width=8 * np.dtype(dtype).itemsize))
)
BITS = st.sampled_from(quantised.BITS)


def finite(tensor: np.ndarray) -> np.ndarray:
    limit = float(np.finfo(np.float32).max)
    return np.clip(np.nan_to_num(tensor.astype(np.float64), posinf=limit, neginf=-limit), -limit, limit)


def smooth(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Values as after a ReLU: smooth in space, channels of very different means, many zeros."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=shape)
    for axis in range(1, len(shape) - 1):
        noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)) / 3**0.5
    means = random.normal(size=shape[-1]) * 2
    return np.maximum(noise + means, 0).astype(np.float32)


@settings(max_examples=300)
@given(ANY, BITS)
@example(np.full((2, 3), 1e-45, np.float32), 4)
@example(np.array([[3.4e38, -3.4e38, 0, 1]], np.float32), 2)
@example(np.array([[1e30] * 500 + [1.0000001e30]], np.float32), 6)
def test_a_value_is_off_by_half_a_step_from_the_clipped_value(tensor, bits):
    back = quantised.unpack(quantised.pack(tensor, bits), tensor.shape, tensor.dtype, bits)
    assert back.shape == tensor.shape
    assert back.dtype == tensor.dtype
    assert np.isfinite(back).all()
    for image, got in zip(tensor, back, strict=True) if tensor.size else ():
        values = finite(image)
        scale, offset = quantised._choose_scale(values, bits)
        lowest, highest = offset * scale, (offset + 2**bits - 1) * scale
        rounding = float(np.finfo(np.float16 if tensor.dtype == np.float16 else np.float32).eps) * abs(values)
        rounding += float(np.finfo(np.float16 if tensor.dtype == np.float16 else np.float32).smallest_subnormal)
        clipped = np.clip(values, lowest, highest)
        limit = min(float(np.finfo(tensor.dtype).max), float(np.finfo(np.float32).max))
        assert (abs(got - np.clip(clipped, -limit, limit)) <= scale / 2 * (1 + 1e-6) + rounding).all()


@given(
    hnp.arrays("<f4", st.tuples(st.integers(1, 6), *map(st.just, (3, 4, 5))), elements=st.floats(-9, 9, width=32)), BITS
)
def test_an_image_does_not_depend_on_its_batch(tensor, bits):
    together = quantised.unpack(quantised.pack(tensor, bits), tensor.shape, FP32, bits)
    for index, image in enumerate(together):
        alone = quantised.pack(tensor[index : index + 1], bits)
        np.testing.assert_array_equal(quantised.unpack(alone, (1, 3, 4, 5), FP32, bits)[0], image)


@pytest.mark.parametrize("bits", quantised.BITS)
@pytest.mark.parametrize("value", [0.0, -0.1, 3.4e38, 1e-45, np.nan])
@pytest.mark.parametrize("shape", [(3,), (2, 7), (2, 4, 4, 3)])
def test_constants_are_exact_and_nan_is_zero(value, shape, bits):
    tensor = np.full(shape, value, np.float32)
    back = quantised.unpack(quantised.pack(tensor, bits), shape, FP32, bits)
    np.testing.assert_array_equal(back, np.nan_to_num(tensor))


@pytest.mark.parametrize("bits", quantised.BITS)
def test_zero_stays_zero(bits):
    tensor = smooth((3, 14, 14, 64))
    back = quantised.unpack(quantised.pack(tensor, bits), tensor.shape, FP32, bits)
    assert (back[tensor == 0] == 0).all()


def test_more_bits_are_more_exact_and_larger():
    tensor = smooth((8, 14, 14, 64))
    packed = {bits: quantised.pack(tensor, bits) for bits in quantised.BITS}
    errors = [abs(quantised.unpack(packed[bits], tensor.shape, FP32, bits) - tensor).mean() for bits in quantised.BITS]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 8 * errors[-1]
    sizes = [len(data) for data in packed.values()]
    assert sizes == sorted(sizes)


def test_an_outlier_does_not_coarsen_the_levels_of_the_others():
    tensor = smooth((1, 14, 14, 64))
    tensor[0, 3, 3, 3] = 1e4
    back = quantised.unpack(quantised.pack(tensor, 4), tensor.shape, FP32, 4)
    assert abs(back - smooth((1, 14, 14, 64))).mean() < 1000
    assert back.max() < 1e4


LEVELS = st.tuples(SHAPES.filter(math.prod), st.integers(2, 128)).flatmap(
    lambda drawn: st.tuples(hnp.arrays(np.uint8, drawn[0], elements=st.integers(0, drawn[1] - 1)), st.just(drawn[1]))
)


@settings(max_examples=200)
@given(LEVELS)
def test_levels_are_decoded_exactly(drawn):
    levels, count = drawn
    packed = coder.encode_levels(levels, count)
    assert len(packed.model) <= context_model.max_model_bytes(levels.shape, count)
    np.testing.assert_array_equal(coder.decode_levels(packed, levels.shape, count), levels)


@pytest.mark.parametrize(
    "shape",
    [
        *((1, 112, 112, 8), (2, 57, 31, 3), (32, 1, 1, 256), (3, 7, 7, 256), (2, 500, 4), (40, 10), (1, 1, 900, 2)),
        *((20, 14, 14, 64), (24, 28, 28, 32), (60, 7, 7, 192), (1024, 5, 5, 3), (31, 14, 14, 64)),
    ],
)
def test_levels_of_every_kind_of_tensor_are_decoded_exactly(shape):
    levels = np.minimum(smooth(shape, 3) * 3, 15).astype(np.uint8)
    packed = coder.encode_levels(levels, 16)
    np.testing.assert_array_equal(coder.decode_levels(packed, shape, 16), levels)


def entropy_bits(levels: np.ndarray) -> float:
    counts = np.unique(levels, return_counts=True)[1] / levels.size
    return float(-(counts * np.log2(counts)).sum())


def test_contexts_save_bytes():
    levels = np.minimum(smooth((16, 14, 14, 64)) * 2, 15).astype(np.uint8)
    packed = coder.encode_levels(levels, 16)
    coded = 8 * (len(zstandard.compress(packed.model)) + len(packed.data)) / levels.size
    by_channel = np.mean([entropy_bits(levels[..., channel]) for channel in range(64)])
    assert coded < 0.97 * by_channel < 0.9 * entropy_bits(levels)


def test_the_bytes_have_the_documented_layout():
    levels = np.minimum(smooth((8, 14, 14, 64)) * 2, 15).astype(np.uint8)
    coded = coder.encode_levels(levels, 16)
    form = coded.model[0] - 32
    rows, classes = (48, 24, 16, 12, 8, 6, 4, 3, 2, 1)[form // 3], (4, 2, 1)[form % 3]
    assert len(coded.model) == 1 + 64 + 64 + classes * rows * 16
    kinds, class_of = np.divmod(np.frombuffer(coded.model, np.uint8, 64, 1), 4)
    assert kinds.max() < 28
    assert np.bincount(class_of).tolist() == [64 // classes] * classes
    means = np.frombuffer(coded.model, np.uint8, 64, 65)
    np.testing.assert_array_equal(means, np.rint(levels.mean(axis=(0, 1, 2))))
    assert (np.frombuffer(coded.data, "<u2", Lanes.of_shape(levels.shape).count) >= 256).all()


def test_lanes_are_longer_if_there_are_many():
    counts = {batch: Lanes.of_shape((batch, 14, 14, 64)).count for batch in (1, 8, 20, 31, 32)}
    assert counts == {1: 64, 8: 512, 20: 640, 31: 31 * 64, 32: 512}
    assert Lanes.of_shape((1024, 1, 1, 64)).steps <= 1024


CELLS = st.integers(2, 128).flatmap(
    lambda count: hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.just(count)), elements=st.integers(0, 17))
)


@given(CELLS)
@example(np.array([[17] * 28 + [1] * 100], np.uint8))
@example(np.array([[1] * 128, [0] * 127 + [1]], np.uint8))
def test_frequencies_sum_to_256_for_every_model(octaves):
    model = context_model.ContextModel(Lanes.of_shape((1, 4)), *[np.zeros(1, int)] * 3, len(octaves), octaves)
    frequencies = model.frequencies
    assert ((frequencies > 0) == (octaves > 0)).all()
    assert (frequencies.sum(axis=1) == np.where(octaves.any(axis=1), 256, 0)).all()


def test_each_channel_has_the_weights_that_predict_it():
    random = np.random.default_rng(0)
    across, down = (np.repeat(random.integers(0, 16, (8, 28, 1, 4)), 28, 2) for _ in range(2))
    levels = np.concatenate([across, down.transpose(0, 2, 1, 3)], axis=3).astype(np.uint8)
    levels += random.integers(0, 2, levels.shape, np.uint8)
    packed = coder.encode_levels(levels, 17)
    read = context_model.ContextModel.from_bytes(Lanes.of_shape(levels.shape), packed.model, 17)
    left, up = context_model._KINDS[read.kinds].T
    assert (left[:4] > 3 * up[:4]).all()
    assert (up[4:] > 3 * left[4:]).all()
    np.testing.assert_array_equal(coder.decode_levels(packed, levels.shape, 17), levels)


def test_noise_needs_few_bytes_beyond_its_entropy():
    levels = np.random.default_rng(0).integers(0, 8, (8, 14, 14, 64), np.uint8)
    packed = coder.encode_levels(levels, 8)
    assert 8 * (len(packed.data) + len(packed.model)) / levels.size < 3 * 1.04


def test_a_constant_needs_almost_no_bytes():
    assert len(quantised.pack(np.full((8, 14, 14, 64), 7.0, np.float32), 4)) < 8 * 14 * 14 * 64 // 50


VALID = quantised.pack(smooth((2, 8, 8, 3)), 4)
SHAPE = (2, 8, 8, 3)


@given(st.data())
def test_damaged_bytes_are_refused_or_decode_to_the_shape(data):
    broken = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = quantised.unpack(bytes(broken), SHAPE, FP32, 4)
    except InvalidFrame:
        return
    assert back.shape == SHAPE
    assert np.isfinite(back).all()


def test_most_changed_bits_of_the_levels_are_detected():
    levels = np.random.default_rng(0).binomial(7, 0.4, (1, 14, 14, 8)).astype(np.uint8)
    packed = coder.encode_levels(levels, 8)
    unnoticed = 0
    for at in range(len(packed.data)):
        broken = bytearray(packed.data)
        broken[at] ^= 1
        try:
            coder.decode_levels(coder.CodedLevels(packed.model, bytes(broken)), levels.shape, 8)
            unnoticed += 1
        except InvalidFrame:
            pass
    assert unnoticed < 0.2 * len(packed.data)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data):
    with pytest.raises(InvalidFrame):
        quantised.unpack(data, SHAPE, FP32, 4)
    with pytest.raises(InvalidFrame):
        calibrated.unpack(data, SHAPE, FP32)


def headed(head: bytes, coded: bytes = b"") -> bytes:
    packed = zstandard.compress(head)
    return struct.pack("<I", len(packed)) + packed + coded


GRID = struct.pack("<2f2i", 1, 1, 0, 0)
KINDS, MEANS = bytes(3), bytes(3)
FORM = bytes(
    [context_model._FIRST_FORM + len(context_model._ROW_COUNTS) * len(context_model._CLASS_COUNTS) - 1]
)  # one row, one class
FLAT = FORM + KINDS + MEANS + bytes([9] * 16)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (VALID[:-1], "ends before"),
        (VALID + b"\0", "does not end"),
        (VALID[:3], "within its head"),
        (VALID[:9], "within its head"),
        (b"\4\0\0\0zstd", "not zstd"),
        (headed(GRID), "declares"),
        (headed(bytes(1 << 24)), "declares"),
        (headed(GRID + b"\xff" + FLAT[1:]), "no context model"),
        (headed(GRID + b"\x0a" + FLAT[1:]), "no context model that this version reads"),
        (headed(GRID + FORM), "does not need"),
        (headed(GRID + FLAT + b"\0"), "does not need"),
        (headed(GRID + FLAT), "states of"),
        (headed(GRID + FLAT[:-1] + b"\x12"), "a frequency beyond 256"),
        (headed(GRID + FORM + b"\1" + FLAT[2:]), "of an unknown kind or class"),
        (headed(GRID + FORM + b"\xff" + FLAT[2:]), "of an unknown kind or class"),
        (headed(struct.pack("<2f2i", np.nan, 1, 0, 0) + zstandard.decompress(VALID[4:])[16:], b""), "states of"),
    ],
)
def test_bytes_that_are_not_a_tensor_of_the_shape_are_refused(data, reason):
    with pytest.raises(InvalidFrame, match=reason):
        quantised.unpack(data, SHAPE, FP32, 4)


@pytest.mark.parametrize("step", [np.nan, np.inf, 0.0, -1.0])
def test_invalid_scales_are_refused(step):
    size = struct.unpack_from("<I", VALID)[0]
    head = zstandard.decompress(VALID[4 : 4 + size])
    broken = headed(struct.pack("<f", step) + head[4:], VALID[4 + size :])
    with pytest.raises(InvalidFrame, match="not a positive number"):
        quantised.unpack(broken, SHAPE, FP32, 4)


def test_a_decompression_bomb_is_refused_before_allocation():
    bomb = headed(bytes(1 << 27))
    tracemalloc.start()
    with pytest.raises(InvalidFrame, match="does not need"):
        quantised.unpack(bomb, SHAPE, FP32, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (2, 0, 4, 3)])
def test_an_empty_tensor_has_no_bytes(shape):
    assert quantised.pack(np.zeros(shape, np.float32), 4) == b""
    assert quantised.unpack(b"", shape, FP32, 4).shape == shape
    with pytest.raises(InvalidFrame, match="without values"):
        quantised.unpack(b"x", shape, FP32, 4)


STEPS = np.array([0.1, 0.25, 2.0])
GRID3 = Grid.covering(STEPS, np.array([-1.0, 0.0, -4.0]), np.array([1.0, 5.0, 4.0]))


def test_a_grid_has_nearly_the_given_scales_and_covers_the_range():
    assert (abs(np.log2(GRID3.scales / STEPS)) <= 1 / 16 + 1e-9).all()
    assert GRID3.count <= 128
    offsets = np.array(GRID3.offsets)
    assert (offsets * GRID3.scales <= [-1 + 0.05, 0.1, -4 + 1]).all()
    assert ((offsets + GRID3.count - 1) * GRID3.scales >= [1 - 0.05, 5 - 0.13, 4 - 1]).all()


def test_a_grid_that_needs_too_many_levels_keeps_the_middle():
    grid = Grid.covering(np.array([0.001]), np.array([-1.0]), np.array([3.0]))
    assert grid.count == 128
    assert abs((grid.offsets[0] + 63.5) * grid.scales[0] - 1) < 0.01


@given(hnp.arrays("<f4", st.tuples(st.integers(0, 5), st.just(4), st.just(3)), elements=st.floats(width=32)))
def test_a_calibrated_value_is_off_by_half_a_step_of_its_channel(tensor):
    back = calibrated.unpack(calibrated.pack(tensor, GRID3), tensor.shape, FP32)
    offsets = np.array(GRID3.offsets)
    clipped = np.clip(finite(tensor), offsets * GRID3.scales, (offsets + GRID3.count - 1) * GRID3.scales)
    assert (abs(back - clipped) <= GRID3.scales / 2 * (1 + 1e-6) + 1e-6).all()


def test_a_calibrated_tensor_may_have_one_value_per_image():
    grid = Grid.covering(np.array([0.5]), np.array([-1.0]), np.array([9.0]))
    tensor = np.array([1.0, 2.5, 3.2], np.float32)
    decoded = calibrated.unpack(calibrated.pack(tensor, grid), (3,), FP32)
    np.testing.assert_array_equal(decoded, np.float32([1.0, 2.5, 3.0]))


BOUNDARY = (TensorSpec("a:0", (4, 3), "FP32"), TensorSpec("b:0", (5,), "INT32"))


def test_a_tail_decodes_a_calibrated_codec_without_the_calibration(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "mine"))
    codec = save_grids({"a:0": GRID3})
    sent = [np.array(GRID3.scales * np.ones((2, 4, 3)), np.float32), np.arange(10, dtype=np.int32).reshape(2, 5)]
    frame = Frame(wire_tensors.encode(codec, BOUNDARY, sent))
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "yours"))
    got = wire_tensors.decode(BOUNDARY, frame)
    np.testing.assert_allclose(got[0], sent[0], rtol=1e-6)
    np.testing.assert_array_equal(got[1], sent[1])
    with pytest.raises(WrongUsage, match="--codec auto"):
        wire_tensors.encode(codec, BOUNDARY, sent)


def test_a_calibration_of_another_cut_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    codec = save_grids({"z:0": GRID3})
    with pytest.raises(WrongUsage, match="another cut"):
        wire_tensors.encode(codec, BOUNDARY, [np.zeros((1, 4, 3), np.float32), np.zeros((1, 5), np.int32)])
