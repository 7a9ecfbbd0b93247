import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hybrid_batch.data.errors import InvalidFrame, WrongUsage
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES
from hybrid_batch.inference.protocol.codecs import int8, wire_tensors
from hybrid_batch.inference.protocol.wire import Frame, WireTensor

FP32 = np.dtype("<f4")
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=12)


def floats(dtype: str, largest: float | None = None) -> st.SearchStrategy[np.ndarray]:
    limits = {} if largest is None else {"min_value": -largest, "max_value": largest}
    elements = st.floats(width=8 * np.dtype(dtype).itemsize, allow_nan=False, allow_infinity=False, **limits)
    return hnp.arrays(dtype, SHAPES, elements=elements)


def half_steps(tensor: np.ndarray) -> np.ndarray:
    """The maximum error of int8 for each value: half a step of its range, and the rounding to its dtype."""
    channels, positions = int8._layout(tensor.shape)
    images = tensor.reshape(len(tensor), positions, channels).astype(np.float64)
    if not images.size:
        return np.zeros(tensor.shape)
    low, high = images.min(axis=1, keepdims=True), images.max(axis=1, keepdims=True)
    limits = np.finfo(np.float16 if tensor.dtype == np.float16 else np.float32)
    rounding = np.maximum(abs(low), abs(high)) * float(limits.eps) + float(limits.smallest_subnormal)
    bound = (high - low) / 510 * (1 + 1e-9) + rounding
    return np.broadcast_to(bound, images.shape).reshape(tensor.shape)


@settings(deadline=None, max_examples=300)
@given(st.one_of(floats("<f4"), floats("<f2"), floats("<f8", 2.0**127)))
def test_int8_is_off_by_half_a_step_at_most(tensor):
    back = int8.unpack(int8.pack(tensor), tensor.shape, tensor.dtype)
    assert back.dtype == tensor.dtype
    assert back.shape == tensor.shape
    assert (abs(back.astype(np.float64) - tensor) <= half_steps(tensor)).all()


@settings(deadline=None)
@given(
    hnp.arrays("<f4", st.tuples(st.integers(1, 6), st.just(3), st.just(4), st.just(5))),
)
def test_int8_of_an_image_does_not_depend_on_its_batch(tensor):
    together = int8.unpack(int8.pack(tensor), tensor.shape, FP32)
    alone = [int8.unpack(int8.pack(tensor[i : i + 1]), (1, *tensor.shape[1:]), FP32) for i in range(len(tensor))]
    np.testing.assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize("value", [0.0, -0.1, 3.4e38, 1e-45])
@pytest.mark.parametrize("shape", [(3,), (2, 7), (2, 4, 4, 3)])
def test_int8_restores_constants_exactly(value, shape):
    tensor = np.full(shape, value, np.float32)
    np.testing.assert_array_equal(int8.unpack(int8.pack(tensor), shape, FP32), tensor)


def test_int8_restores_minimum_and_maximum_exactly():
    tensor = np.random.default_rng(0).normal(size=(4, 14, 14, 64)).astype(np.float32)
    back = int8.unpack(int8.pack(tensor), tensor.shape, FP32)
    np.testing.assert_array_equal(back.min(axis=(1, 2)), tensor.min(axis=(1, 2)))
    np.testing.assert_array_equal(back.max(axis=(1, 2)), tensor.max(axis=(1, 2)))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
def test_int8_converts_nan_to_zero_and_infinities_to_finite_values(dtype):
    tensor = np.array([[np.nan, np.inf, -np.inf, 1.0]], dtype)
    back = int8.unpack(int8.pack(tensor), tensor.shape, np.dtype(dtype))
    largest = min(float(np.finfo(dtype).max), float(np.finfo("<f4").max))
    step = 2 * largest / 255
    assert np.isfinite(back).all()
    assert (abs(back[0].astype(float) - [0, largest, -largest, 1]) <= step).all()


def test_int8_has_a_range_for_each_channel():
    tensor = np.stack([np.linspace(0, 1, 64), np.linspace(0, 1000, 64)], axis=-1).reshape(1, 8, 8, 2)
    back = int8.unpack(int8.pack(tensor.astype(np.float32)), tensor.shape, FP32)
    assert abs(back - tensor)[..., 0].max() <= 1 / 510 + 1e-6


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not zstd at all",
        zstandard.compress(b"\0" * 99),
        int8.pack(np.ones((2, 9), np.float32)),
        int8.pack(np.ones((1, 9), np.float32))[:-3],
        int8.pack(np.ones((1, 9), np.float32)) + b"more",
        zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * 17),
        zstandard.compress(np.array([np.nan, 1], "<f4").tobytes() + bytes(9)),
        zstandard.compress(np.array([0, np.inf], "<f4").tobytes() + bytes(9)),
    ],
)
def test_int8_refuses_bytes_that_are_not_a_tensor_of_the_shape(data):
    with pytest.raises(InvalidFrame, match="int8 tensor"):
        int8.unpack(data, (1, 9), FP32)


def test_a_decompression_bomb_is_refused_before_allocation():
    bomb = zstandard.compress(bytes(1 << 27))
    tracemalloc.start()
    with pytest.raises(InvalidFrame, match="does not need"):
        int8.unpack(bomb, (1, 9), FP32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


BOUNDARY = (TensorSpec("a:0", (4, 4, 3), "FP32"), TensorSpec("b:0", (5,), "INT32"))


def tensors(batch: int) -> list[np.ndarray]:
    random = np.random.default_rng(batch)
    return [
        random.normal(size=(batch, 4, 4, 3)).astype(np.float32),
        random.integers(-9, 9, (batch, 5)).astype(np.int32),
    ]


@pytest.mark.parametrize("batch", [0, 1, 7])
@pytest.mark.parametrize(("codec", "off_by"), [("fp32", 0), ("fp16", 0.002), ("int8", 0.02)])
def test_every_codec_restores_floats_nearly_and_integers_exactly(codec, off_by, batch):
    sent = tensors(batch)
    got = wire_tensors.decode(BOUNDARY, Frame(wire_tensors.encode(codec, BOUNDARY, sent)))
    assert [tensor.dtype for tensor in got] == [np.float32, np.int32]
    np.testing.assert_allclose(got[0], sent[0], rtol=0, atol=off_by)
    np.testing.assert_array_equal(got[1], sent[1])


def test_fp16_clips_values_beyond_its_range():
    spec = [TensorSpec("a:0", (3,), "FP32")]
    frame = Frame(wire_tensors.encode("fp16", spec, [np.array([[1e9, -np.inf, 2]], np.float32)]))
    assert wire_tensors.decode(spec, frame)[0].tolist() == [[65504, -65504, 2]]


def test_the_tensors_of_a_frame_may_have_any_order():
    sent = tensors(2)
    frame = Frame(wire_tensors.encode("fp32", BOUNDARY, sent)[::-1])
    np.testing.assert_array_equal(wire_tensors.decode(BOUNDARY, frame)[0], sent[0])


@pytest.mark.parametrize("codec", ["image", "int4"])
def test_codecs_that_do_not_send_tensors_are_refused(codec):
    with pytest.raises(WrongUsage, match=codec):
        wire_tensors.encode(codec, BOUNDARY, tensors(1))


def wire(**changes: object) -> WireTensor:
    described = {"name": "a:0", "datatype": "FP32", "shape": (1, 2), "data": bytes(8), "parameters": {}}
    return WireTensor(**(described | changes))


PACKED = {"codec": "int8", "shape": [1, 2], "datatype": "FP32"}


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (wire(name="z:0"), "this cut takes 'a:0'"),
        (wire(shape=(1, 1, 2)), "has shape"),
        (wire(shape=()), "has shape"),
        (wire(datatype="INT32"), "takes FP32"),
        (wire(datatype="FP64"), "takes FP32"),
        (wire(parameters={"codec": "int4"}), "codec 'int4'"),
        (wire(parameters={"codec": ["int8"]}), "codec"),
        (wire(parameters=PACKED), "int8 in FP32 for FP32"),
        (wire(datatype="UINT8", parameters=PACKED | {"datatype": "FP16"}), "takes FP32"),
        (wire(datatype="UINT8", parameters=PACKED | {"shape": [1, 3]}), "has shape"),
        (wire(datatype="UINT8", parameters=PACKED | {"shape": "12"}), "has shape"),
        (wire(datatype="UINT8", parameters=PACKED | {"shape": [True, 2]}), "has shape"),
        (wire(datatype="UINT8", parameters=PACKED), "not zstd"),
        (wire(datatype="UINT8", parameters=PACKED | {"shape": [1025, 2]}), "too large"),
    ],
)
def test_tensors_that_do_not_match_the_boundary_are_refused(tensor, reason):
    with pytest.raises(InvalidFrame, match=reason):
        wire_tensors.decode([TensorSpec("a:0", (2,), "FP32")], Frame((tensor,)))


def test_packed_integers_are_refused():
    spec = [TensorSpec("a:0", (2,), "INT32")]
    with pytest.raises(InvalidFrame, match="int8 in UINT8 for INT32"):
        wire_tensors.decode(spec, Frame((wire(datatype="UINT8", parameters=PACKED | {"datatype": "INT32"}),)))


def test_a_batch_that_is_too_large_is_refused_before_decoding():
    spec = [TensorSpec("a:0", (1 << 20,), "FP32")]
    packed = wire(datatype="UINT8", parameters=PACKED | {"shape": [1000, 1 << 20]})
    with pytest.raises(InvalidFrame, match="too large"):
        wire_tensors.decode(spec, Frame((packed,)))


def test_tensors_of_different_batch_sizes_are_refused():
    frame = Frame(
        (wire_tensors.encode("fp32", BOUNDARY, tensors(2))[0], wire_tensors.encode("fp32", BOUNDARY, tensors(3))[1])
    )
    with pytest.raises(InvalidFrame, match=r"\[2, 3\]"):
        wire_tensors.decode(BOUNDARY, frame)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_image_files_are_sent_unchanged(images):
    spec = TensorSpec("image:0", (8, 8, 1), "FP32")
    frame = Frame(wire_tensors.encode_images(spec, images))
    assert wire_tensors.holds_images(frame)
    assert [bytes(image) for image in wire_tensors.image_files(spec, frame)] == images


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"\xff" * 4 + d[4:]])
def test_image_files_that_do_not_fill_their_tensor_are_refused(change):
    spec = TensorSpec("image:0", (8, 8, 1), "FP32")
    (tensor,) = wire_tensors.encode_images(spec, [b"one", b"two"])
    broken = WireTensor(tensor.name, tensor.datatype, tensor.shape, change(bytes(tensor.data)))
    with pytest.raises(InvalidFrame):
        wire_tensors.image_files(spec, Frame((broken,)))


@pytest.mark.parametrize("datatype", [name for name in NUMPY_DTYPES if not name.startswith("FP")])
def test_int8_sends_every_integer_datatype(datatype):
    spec = [TensorSpec("a:0", (3,), datatype)]
    sent = np.array([[0, 1, 1]], NUMPY_DTYPES[datatype])
    np.testing.assert_array_equal(wire_tensors.decode(spec, Frame(wire_tensors.encode("int8", spec, [sent])))[0], sent)
