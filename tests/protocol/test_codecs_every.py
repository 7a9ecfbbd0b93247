"""Properties of all codecs for tensors, for any shape, values and batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.wire import Frame

ANY = hnp.arrays("<f4", hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6), elements=st.floats(width=32))
EVERY = pytest.mark.parametrize("codec", codecs.TENSOR_CODECS)


def encode_and_decode(codec: str, tensor: np.ndarray) -> np.ndarray:
    boundary = [TensorSpec("a:0", tensor.shape[1:], "FP32")]
    (back,) = wire_tensors.decode(boundary, Frame(wire_tensors.encode(codec, boundary, [tensor])))
    assert (back.shape, back.dtype) == (tensor.shape, tensor.dtype)
    return back


@EVERY
@given(tensor=ANY)
def test_finite_values_stay_finite_and_do_not_grow(codec, tensor):
    back = encode_and_decode(codec, tensor)
    numbers = np.isfinite(tensor)
    assert np.isfinite(back[numbers]).all()
    largest = np.abs(tensor[numbers]).max(initial=0)
    if numbers.all() and codec != codecs.FP32:
        assert float(np.abs(back).max(initial=0)) <= 2.0 * float(largest) + 1e-7


@EVERY
@given(tensor=ANY, at=st.integers(0, 5))
def test_an_image_does_not_depend_on_its_batch(codec, tensor, at):
    if not len(tensor):
        return
    at %= len(tensor)
    alone = encode_and_decode(codec, tensor[at : at + 1])
    np.testing.assert_array_equal(encode_and_decode(codec, tensor)[at], alone[0])


@given(tensor=ANY)
def test_fp32_is_exact(tensor):
    np.testing.assert_array_equal(encode_and_decode(codecs.FP32, tensor), tensor)


@given(tensor=ANY)
def test_fp16_is_off_by_half_of_its_last_bit_and_clips(tensor):
    back = encode_and_decode(codecs.FP16, tensor)
    assert (np.isnan(back) == np.isnan(tensor)).all()
    clipped = np.clip(tensor.astype(np.float64), -65504, 65504)
    off = np.abs(back.astype(np.float64) - clipped)
    assert (np.nan_to_num(off) <= np.maximum(np.nan_to_num(np.abs(clipped)) * 2.0**-11, 2.0**-25)).all()


@EVERY
@pytest.mark.parametrize("value", [0.0, -1.5, 3.0e38, np.inf, -np.inf, np.nan])
def test_constants(codec, value):
    back = encode_and_decode(codec, np.full((2, 4, 4, 3), value, np.float32))
    if np.isfinite(value) and codec != codecs.FP16:
        np.testing.assert_array_equal(back, np.float32(value))
