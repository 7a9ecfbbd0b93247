"""What holds for every codec that sends tensors: any shape, any values, any batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.wire import Frame

ANY = hnp.arrays("<f4", hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6), elements=st.floats(width=32))
EVERY = pytest.mark.parametrize("codec", codecs.TENSOR_CODECS)


def there_and_back(codec: str, tensor: np.ndarray) -> np.ndarray:
    boundary = [TensorSpec("a:0", tensor.shape[1:], "FP32")]
    (back,) = codecs.decode(boundary, Frame(codecs.encode(codec, boundary, [tensor])))
    assert (back.shape, back.dtype) == (tensor.shape, tensor.dtype)
    return back


@EVERY
@given(tensor=ANY)
def test_numbers_come_back_as_numbers_and_none_grows(codec, tensor):
    back = there_and_back(codec, tensor)
    numbers = np.isfinite(tensor)
    assert np.isfinite(back[numbers]).all()
    largest = np.abs(tensor[numbers]).max(initial=0)
    if numbers.all() and codec != codecs.RAW:
        assert float(np.abs(back).max(initial=0)) <= 2.0 * float(largest) + 1e-7


@EVERY
@given(tensor=ANY, at=st.integers(0, 5))
def test_an_image_is_the_same_in_any_company(codec, tensor, at):
    if not len(tensor):
        return
    at %= len(tensor)
    alone = there_and_back(codec, tensor[at : at + 1])
    np.testing.assert_array_equal(there_and_back(codec, tensor)[at], alone[0])


@given(tensor=ANY)
def test_raw_is_exact(tensor):
    np.testing.assert_array_equal(there_and_back(codecs.RAW, tensor), tensor)


@given(tensor=ANY)
def test_half_is_off_by_half_of_its_last_bit_and_clips(tensor):
    back = there_and_back(codecs.HALF, tensor)
    assert (np.isnan(back) == np.isnan(tensor)).all()
    clipped = np.clip(tensor.astype(np.float64), -65504, 65504)
    off = np.abs(back.astype(np.float64) - clipped)
    assert (np.nan_to_num(off) <= np.maximum(np.nan_to_num(np.abs(clipped)) * 2.0**-11, 2.0**-25)).all()


@EVERY
@pytest.mark.parametrize("value", [0.0, -1.5, 3.0e38, np.inf, -np.inf, np.nan])
def test_constants_of_any_kind(codec, value):
    back = there_and_back(codec, np.full((2, 4, 4, 3), value, np.float32))
    if np.isfinite(value) and codec != codecs.HALF:
        np.testing.assert_array_equal(back, np.float32(value))
