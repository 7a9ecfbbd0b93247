"""The memory that decoding takes, against what each codec states."""

import tracemalloc
from functools import partial

import numpy as np
import pytest

from hybrid_batch.inference.protocol.codecs import calibrated, open_tensor_codec
from hybrid_batch.inference.protocol.codecs.codec import FIXED_BYTES, PackedCodec

SHAPES = [(6, 56, 56, 32), (1, 113, 113, 96), (700, 1000), (512, 6, 6, 64), (3000, 31), (2, 197, 201), (1, 2, 3)]


def calibrated_codec(channels: int) -> PackedCodec:
    ones = np.ones(channels)
    grid = calibrated.Grid.covering(ones / 30, -ones, ones)
    return PackedCodec(partial(calibrated.pack, grid=grid), calibrated.unpack, calibrated.DECODER.peak_bytes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", ["int8", "q2", "q6", "calibrated"])
def test_decoding_takes_no_more_memory_than_its_codec_states(name, dtype, shape):
    """Constant tensors, whose bytes are few, as those of an attacker."""
    codec = calibrated_codec(shape[-1]) if name == "calibrated" else open_tensor_codec(name)
    data = codec.pack(np.zeros(shape, dtype))
    codec.unpack(data, shape, np.dtype(dtype))
    tracemalloc.start()
    decoded = codec.unpack(data, shape, np.dtype(dtype))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    stated = codec.peak_bytes(shape, np.dtype(dtype))
    assert decoded.nbytes <= peak <= stated + FIXED_BYTES
    if shape[-1] * len(shape) < 400 and np.prod(shape) > 1e5 and dtype is np.float32:
        assert stated <= 1.8 * decoded.nbytes
