import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES, join_bytes, split_bytes
from hybrid_batch.inference.protocol.wire import (
    BINARY_OUTPUT,
    MAX_HEADER_BYTES,
    Body,
    Frame,
    RequestedOutput,
    WireTensor,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    parse_header_length,
)

SCORES = np.array([[0.25, 0.75]], "<f4")
ANSWER = Frame(
    (
        WireTensor("scores", "FP32", (1, 2), SCORES.tobytes()),
        WireTensor("errors", "BYTES", (1,), join_bytes([b"bad"])),
    ),
    parameters={"server_us": 7},
)


@st.composite
def wire_tensors(draw, name: str) -> WireTensor:
    datatype = draw(st.sampled_from([*NUMPY_DTYPES, "BYTES"]))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    count = math.prod(shape)
    if datatype == "BYTES":
        data = join_bytes(draw(st.lists(st.binary(max_size=9), min_size=count, max_size=count)))
    else:
        size = count * NUMPY_DTYPES[datatype].itemsize
        data = draw(st.binary(min_size=size, max_size=size))
    parameters = draw(st.dictionaries(st.sampled_from(["codec", "shape", "x"]), st.integers() | st.text(max_size=5)))
    return WireTensor(name, datatype, shape, data, parameters)


@st.composite
def frames(draw) -> Frame:
    names = draw(st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True))
    tensors = tuple(draw(wire_tensors(name)) for name in names)
    return Frame(tensors, draw(st.text(max_size=8)), {"bundle": draw(st.text(max_size=8))})


def plain(frame: Frame) -> list[tuple[object, ...]]:
    return [(t.name, t.datatype, t.shape, bytes(t.data), dict(t.parameters)) for t in frame.tensors]


@given(frames())
def test_a_request_is_decoded_as_it_was_encoded(frame):
    body = encode_request(frame)
    joined = body.join()
    assert len(joined) == body.size
    back = decode_request(joined, body.header_bytes)
    assert plain(back) == plain(frame)
    assert back.id == frame.id
    assert back.parameters == {**frame.parameters, "binary_data_output": True}


@given(frames())
def test_a_binary_response_is_decoded_as_it_was_encoded(frame):
    body = encode_response(frame, Frame((), id="7", parameters={"binary_data_output": True}), "digits", "c001")
    back = decode_response(body.join(), body.header_bytes)
    assert plain(back) == plain(frame)
    assert back.id == "7"


def header(body: Body) -> dict:
    return json.loads(bytes(body.join()[: body.header_bytes]))


def test_a_client_without_binary_data_gets_json():
    body = encode_response(ANSWER, Frame((), id="x"), "digits", "c003")
    assert body.headers == {"Content-Type": "application/json"}
    assert header(body) == {
        "model_name": "digits",
        "model_version": "c003",
        "id": "x",
        "parameters": {"server_us": 7},
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
            {"name": "errors", "datatype": "BYTES", "shape": [1], "data": ["bad"]},
        ],
    }
    assert plain(decode_response(body.join(), None)) == plain(ANSWER)


def test_a_client_gets_the_outputs_that_it_requests():
    request = Frame(
        (), requested_outputs=(RequestedOutput("errors", binary=False), RequestedOutput("scores", binary=True))
    )
    body = encode_response(ANSWER, request, "digits", "c003")
    errors, scores = header(body)["outputs"]
    assert errors["data"] == ["bad"]
    assert scores["parameters"] == {"binary_data_size": 8}
    assert body.headers["Inference-Header-Content-Length"] == str(body.header_bytes)
    assert body.join()[body.header_bytes :] == SCORES.tobytes()


def test_an_unknown_output_is_refused():
    with pytest.raises(InvalidFrame, match="'other'"):
        encode_response(ANSWER, Frame((), requested_outputs=(RequestedOutput("other", binary=True),)), "digits", "c003")


def test_requested_outputs_have_the_default_of_the_request():
    head = {
        "inputs": [{"name": "x", "datatype": "INT8", "shape": [1], "data": [1]}],
        "outputs": [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}],
        "parameters": {"binary_data_output": True},
    }
    frame = decode_request(json.dumps(head).encode(), None)
    assert frame.requested_outputs == (RequestedOutput("a", binary=True), RequestedOutput("b", binary=False))


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "values"),
    [
        ("FP32", [2, 2], [[1, 2.5], [3, 4]], [1, 2.5, 3, 4]),
        ("FP32", [2, 2], [1, 2.5, 3, 4], [1, 2.5, 3, 4]),
        ("INT8", [2], [-128, 127], [-128, 127]),
        ("UINT64", [1], [2**64 - 1], [2**64 - 1]),
        ("BOOL", [2], [True, False], [True, False]),
        ("FP64", [0], [], []),
    ],
)
def test_json_tensors_are_read_flat_or_nested(datatype, shape, data, values):
    head = {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "data": data}]}
    (tensor,) = decode_request(json.dumps(head).encode(), None).tensors
    assert np.frombuffer(tensor.data, NUMPY_DTYPES[datatype]).tolist() == values


def test_json_bytes_are_read_as_text():
    head = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [2], "data": ["é", ""]}]}
    (tensor,) = decode_request(json.dumps(head).encode(), None).tensors
    assert [bytes(element) for element in split_bytes(tensor.data, 2)] == ["é".encode(), b""]


def tensor_json(**changes: object) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]} | changes
    return json.dumps({"inputs": [{key: value for key, value in tensor.items() if value is not None}]}).encode()


BAD = {
    "empty": b"",
    "no JSON": b"\x00\x01",
    "no object": b"[]",
    "no inputs": b"{}",
    "empty inputs": b'{"inputs": []}',
    "inputs of no objects": b'{"inputs": [1]}',
    "too many inputs": json.dumps({"inputs": [{}] * 65}).encode(),
    "deep": b'{"inputs":' + b"[" * 500_000,
    "deep and whole": b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "huge number": b'{"inputs":' + b"9" * 10_000 + b"}",
    "id of another kind": b'{"id": 3, "inputs": [{"name": "x", "datatype": "INT8", "shape": [1], "data": [1]}]}',
    "no name": tensor_json(name=None),
    "datatype": tensor_json(datatype="FP31"),
    "datatype of another kind": tensor_json(datatype=["FP32"]),
    "no shape": tensor_json(shape=None),
    "negative shape": tensor_json(shape=[-2]),
    "fractional shape": tensor_json(shape=[2.0]),
    "true shape": tensor_json(shape=[True, 2]),
    "long shape": tensor_json(shape=[1] * 8 + [2]),
    "huge shape": tensor_json(shape=[1 << 40, 1 << 40]),
    "other count": tensor_json(shape=[3]),
    "ragged": tensor_json(shape=[3], data=[[1, 2], 3]),
    "text for numbers": tensor_json(data=["1", "2"]),
    "null": tensor_json(data=[None, 1]),
    "not a number": tensor_json(data=[float("nan"), 1]),
    "infinite": b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [1e999]}]}',
    "infinite in its datatype": tensor_json(data=[1e39, 1]),
    "not a number elsewhere": b'{"parameters": {"a": NaN}, "inputs": [{"name": "x", "datatype": "INT8", "shape": [0]'
    b', "data": []}]}',
    "out of range": tensor_json(datatype="INT8", data=[300, 1]),
    "fractions for whole numbers": tensor_json(datatype="INT8", data=[1.5, 1]),
    "numbers for truth": tensor_json(datatype="BOOL", data=[1, 0]),
    "numbers for text": tensor_json(datatype="BYTES", data=[1, 0]),
    "surrogates": tensor_json(datatype="BYTES", data=["\ud800", "x"]),
    "data of another kind": tensor_json(data="12"),
    "no data": tensor_json(data=None),
    "parameters": tensor_json(parameters=[]),
    "size without bytes": tensor_json(parameters={"binary_data_size": 8}),
    "size of another kind": tensor_json(parameters={"binary_data_size": "8"}),
    "infinite size": tensor_json(parameters={"binary_data_size": float("inf")}),
    "twice": json.dumps({"inputs": [{"name": "x", "datatype": "INT8", "shape": [1], "data": [1]}] * 2}).encode(),
    "output without a name": b'{"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":[1]}],"outputs":[{}]}',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_a_malformed_request_is_refused_in_one_sentence(body):
    with pytest.raises(InvalidFrame) as raised:
        decode_request(body, None)
    assert 10 < len(str(raised.value)) < 600
    assert "\n" not in str(raised.value)


def test_scores_that_are_not_finite_need_binary_data():
    scores = WireTensor("y", "FP32", (2,), np.array([np.nan, 1], np.float32).tobytes())
    with pytest.raises(InvalidFrame, match=r"JSON cannot represent; request binary"):
        encode_response(Frame((scores,)), Frame(()), "m", "c001")
    body = encode_response(Frame((scores,)), Frame((), parameters={BINARY_OUTPUT: True}), "m", "c001")
    (back,) = decode_response(body.join(), body.header_bytes).tensors
    assert np.isnan(np.frombuffer(back.data, np.float32)).tolist() == [True, False]


VALID = encode_request(
    Frame(
        (
            WireTensor("a:0", "FP32", (1, 2), SCORES.tobytes()),
            WireTensor("b:0", "UINT8", (9,), bytes(9), {"codec": "int8", "shape": [1, 1], "datatype": "FP32"}),
            WireTensor("c:0", "BYTES", (2,), join_bytes([b"x", b"yy"])),
        ),
        "id",
        {"bundle": "b" * 64},
    )
)


@pytest.mark.parametrize("header_bytes", [0, -1, 1, len(VALID.join()), len(VALID.join()) + 1, MAX_HEADER_BYTES + 1])
def test_a_header_of_another_length_is_refused(header_bytes):
    with pytest.raises(InvalidFrame):
        decode_request(VALID.join(), header_bytes)


def test_a_tensor_whose_bytes_do_not_match_its_shape_is_refused():
    body = encode_request(Frame((WireTensor("a:0", "FP32", (1, 3), SCORES.tobytes()),)))
    with pytest.raises(InvalidFrame, match="8 bytes"):
        decode_request(body.join(), body.header_bytes)


def test_bytes_after_the_last_tensor_are_refused():
    with pytest.raises(InvalidFrame, match="3 bytes after"):
        decode_request(VALID.join() + b"abc", VALID.header_bytes)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "\u0661", "0x10", "9" * 30])
def test_a_malformed_header_length_is_refused(text):
    with pytest.raises(InvalidFrame):
        parse_header_length(text)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.none() | st.integers(-10, 300))
def test_random_bytes_are_refused(body, header_bytes):
    with pytest.raises(InvalidFrame):
        decode_request(body, header_bytes)


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_broken_frames_are_decoded_or_refused(data):
    """Bytes of a valid frame are changed, removed and repeated. Decoding raises only InvalidFrame, and the data of a
    decoded tensor has exactly the size of its shape."""
    body = bytearray(VALID.join())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 9)))
        body[start:end] = data.draw(st.binary(max_size=9) | st.sampled_from([b"9" * 18, b"[[", b"null", b"-1", b"1e9"]))
    shift = data.draw(st.sampled_from([0, 0, len(body) - len(VALID.join())]))
    try:
        frame = decode_request(bytes(body), VALID.header_bytes + shift)
    except InvalidFrame:
        return
    for tensor in frame.tensors:
        if tensor.datatype != "BYTES":
            assert len(tensor.data) == math.prod(tensor.shape) * NUMPY_DTYPES[tensor.datatype].itemsize
