"""A codec is one module and one line in a table: this file adds a codec, and a run and a server use it.

The codec sends every second channel of a tensor. The decoder repeats each channel that it receives."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.codecs.codec import PackedCodec
from hybrid_batch.inference.protocol.wire import Frame
from tests.conftest import HANG_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "data" / "digits" / "images" / "3"
CUT = "c004"


def open_codec(name: str) -> PackedCodec:
    return PackedCodec(pack, unpack)


def pack(tensor: np.ndarray) -> bytes:
    return np.ascontiguousarray(tensor[..., ::2], "<f4").tobytes()


def unpack(data: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    received = (*shape[:-1], -(-shape[-1] // 2))
    if len(data) != 4 * np.prod(received):
        raise InvalidFrame(f"A tensor of half the channels has {len(data)} bytes, which its shape does not need.")
    return np.frombuffer(data, "<f4").reshape(received).repeat(2, -1)[..., : shape[-1]].astype(dtype)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(codecs.TENSOR_CODECS, "half-channels", __name__)


def test_a_batch_is_encoded_and_decoded(registered):
    spec = [TensorSpec("a:0", (4, 5), "FP32"), TensorSpec("b:0", (2,), "INT32")]
    sent = [np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.arange(6, dtype=np.int32).reshape(3, 2)]
    frame = Frame(wire_tensors.encode("half-channels", spec, sent))
    assert [len(tensor.data) for tensor in frame.tensors] == [3 * 4 * 3 * 4, 3 * 2 * 4]
    floats, integers = wire_tensors.decode(spec, frame)
    np.testing.assert_array_equal(floats, sent[0][..., [0, 0, 2, 2, 4]])
    np.testing.assert_array_equal(integers, sent[1])


def test_a_frame_of_another_size_is_refused(registered):
    spec = [TensorSpec("a:0", (4,), "FP32")]
    (tensor,) = wire_tensors.encode("half-channels", spec, [np.zeros((3, 4), np.float32)])
    parameters = {**tensor.parameters, "shape": [2, 4]}
    broken = type(tensor)(tensor.name, tensor.datatype, tensor.shape, tensor.data, parameters)
    with pytest.raises(InvalidFrame, match="half the channels has 24 bytes"):
        wire_tensors.decode(spec, Frame((broken,)))


def test_a_tail_without_the_codec_refuses_the_frame(registered, monkeypatch):
    spec = [TensorSpec("a:0", (4,), "FP32")]
    frame = Frame(wire_tensors.encode("half-channels", spec, [np.zeros((3, 4), np.float32)]))
    monkeypatch.delitem(codecs.TENSOR_CODECS, "half-channels")
    with pytest.raises(InvalidFrame, match=r"has codec 'half-channels'; use one of int8, .*, calibrated, or none"):
        wire_tensors.decode(spec, frame)


def test_a_run_and_a_server_use_it(registered, tmp_path):
    command = [sys.executable, "-m", __name__, "serve", "digits", "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = server.stdout.readline().split('"')[3]
            sent = {codec: sent_bytes(codec, url, tmp_path / codec) for codec in ("half-channels", "fp32")}
        finally:
            server.terminate()
            server.wait(HANG_S)
    assert 0.45 < sent["half-channels"] / sent["fp32"] < 0.55


def sent_bytes(codec: str, url: str, log: Path) -> int:
    """Run the images through the server, and sum the bytes that the log has for this codec."""
    arguments = ["run", str(IMAGES), "--split", CUT, "--codec", codec, "--tail", url, "--log", str(log)]
    assert main([*arguments, "--labels", "none"]) == 0
    rows = ds.dataset(log, partitioning=None).to_table().to_pylist()
    assert {(row["cut"], row["codec"], row["error"]) for row in rows} == {(CUT, codec, None)}
    return sum(row["sent_bytes"] for row in rows)


if __name__ == "__main__":
    codecs.TENSOR_CODECS["half-channels"] = __name__
    sys.exit(main(sys.argv[1:]))
