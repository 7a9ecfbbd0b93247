"""Hostile JSON: what a body takes in memory while it is decoded or refused."""

import json
import tracemalloc
from collections.abc import Callable

import pytest

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.protocol.json_tensors import MAX_TEXTS
from hybrid_batch.inference.protocol.transport import Reply
from hybrid_batch.inference.protocol.wire import JSON_MEMORY, MAX_JSON_BYTES, decode_request, decode_response
from hybrid_batch.inference.serving.replies import Overloaded

MIB = 1 << 20


def body(data: bytes, datatype: str = "FP32", shape: object = (1,), extra: bytes = b"", key: str = "inputs") -> bytes:
    head = f'"{key}":[{{"name":"x","datatype":"{datatype}","shape":{json.dumps(shape)},"data":'.encode()
    return b"{" + extra + head + data + b"}]}"


def items(item: bytes, count: int) -> bytes:
    return b"[" + b",".join([item] * count) + b"]"


def one_long(characters: int, empty: int) -> bytes:
    return b'["' + b"x" * characters + b'",' + items(b'""', empty)[1:]


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


HOSTILE = {
    "one long text of 302 kB": body(one_long(2200, 99_900), shape=[99_901]),
    "one long text of 455 kB": body(one_long(5000, 150_000), shape=[150_001]),
    "one long text among INT64": body(b"[1," + one_long(9000, 20_000)[1:], "INT64", [20_002]),
    "one long text in nested lists": body(b"[" + one_long(9000, 9999) + b"]", shape=[1, 10_000]),
    "texts of digits": body(items(b'"1"', 50_000), shape=[50_000]),
    "huge integers": body(items(b"9" * 4000, 100), "INT64", [100]),
    "huge integers as floats": body(items(b"9" * 4000, 100), "FP32", [100]),
    "deep": body(b"[" * 200_000 + b"]" * 200_000),
    "deep data of the right count": body(b"[" * 900 + b"1" + b"]" * 900),
    "empty lists": body(items(b"[]", 200_000)),
    "empty lists for a shape with 0": body(items(b"[]", 200_000), shape=[300_000, 0]),
    "objects": body(items(b"{}", 200_000), shape=[200_000]),
    "more values than declared": body(items(b"0", 200_000)),
    "fewer values than declared": body(items(b"0", 2), shape=[2**31 - 1, 1]),
    "a shape of 2^248 values": body(items(b"0", 2), shape=[2**31 - 1] * 8),
    "truth in FP32": body(items(b"true", 100_000), shape=[100_000]),
    "null in FP32": body(items(b"null", 100_000), shape=[100_000]),
    "numbers in BOOL": body(items(b"1", 100_000), "BOOL", [100_000]),
    "truth in INT8": body(items(b"true", 100_000), "INT8", [100_000]),
    "more texts than a frame has": body(items(b'"a"', MAX_TEXTS + 1), "BYTES", [MAX_TEXTS + 1]),
    "more texts than declared": body(items(b'"a"', 200_000), "BYTES"),
    "lists for texts": body(items(b"[[]]", 100_000), "BYTES"),
    "objects with texts": body(items(b'{"a":1}', 8000), "BYTES", [8000]),
    "many tensors": b'{"inputs":' + items(b'{"name":"","datatype":"","shape":0}', 9000) + b"}",
    "many outputs": body(b"[1]", extra=b'"outputs":' + items(b'{"name":""}', 20_000) + b","),
    "outputs of lists": body(b"[1]", extra=b'"outputs":' + items(b"[]", 100_000) + b","),
    "large parameters": body(b"[1]", extra=b'"parameters":{"a":' + items(b"{}", 100_000) + b"},"),
    "a large name": body(b"[1]").replace(b'"x"', b'"' + b"x" * 300_000 + b'"'),
    "a large datatype": body(b"[1]", "F" * 300_000),
    "a large shape": body(b"[1]", shape=[300] * 60_000),
}


@pytest.mark.parametrize("key", ["inputs", "outputs"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_refused_in_memory_bounded_by_its_text(name: str, key: str):
    content = HOSTILE[name] if key == "inputs" else HOSTILE[name].replace(b'"inputs"', b'"outputs"')
    decode = decode_request if key == "inputs" else decode_response

    def refuse() -> None:
        with pytest.raises(InvalidFrame) as refused:
            decode(content, None)
        message = str(refused.value)
        assert len(message) < 1500, message[:2000]
        assert "\n" not in message

    refuse()  # imports and caches of the first call
    assert peak_bytes(refuse) < JSON_MEMORY * len(content) + 2 * MIB


@pytest.mark.parametrize(
    "content",
    [
        body(items(b"0", MAX_JSON_BYTES // 16), "FP64", [MAX_JSON_BYTES // 16]),
        body(items(b"0", MAX_JSON_BYTES // 16), "UINT8", [MAX_JSON_BYTES // 16]),
        body(items(items(b"0.5", 4), 100_000), "FP32", [100_000, 4]),
        body(items(b"true", 400_000), "BOOL", [400_000]),
        body(items(b'"a"', MAX_TEXTS), "BYTES", [MAX_TEXTS]),
        body(b'["' + b"x" * MIB + b'\\ud83d\\ude00"]', "BYTES"),
    ],
    ids=["FP64", "UINT8", "nested", "BOOL", "texts", "one long text"],
)
def test_json_is_decoded_within_the_memory_that_is_reserved(content: bytes):
    reserved: list[int] = []
    peak = peak_bytes(lambda: decode_request(content, None, reserved.append))
    assert reserved == [JSON_MEMORY * len(content)]
    assert peak < reserved[0] + 9 * MIB  # of the piece of numbers that is parsed at once


def test_a_body_of_json_is_not_parsed_when_the_server_has_no_memory_for_it():
    def refuse(_: int) -> None:
        raise Overloaded("Pending requests hold 1 bytes already; retry later.")

    with pytest.raises(Overloaded):
        decode_request(b"{" + b" " * 100_000, None, refuse)


@pytest.mark.parametrize(
    ("datatype", "shape", "nested", "flat"),
    [
        ("FP32", [2, 2], b"[[1, 2],\n [3, 4e0]]", b"[1,2,3,4]"),
        ("FP32", [2, 0], b"[[], []]", b"[]"),
        ("FP32", [2, 1, 1], b"[[[1]],[[2]]]", b"[1,2]"),
        ("BYTES", [2, 1], b'[["a, ]"], ["\\"["]]', b'["a, ]","\\"["]'),
        ("BYTES", [2, 1], b'[["\\\\"], ["\\\\\\""]]', b'["\\\\","\\\\\\""]'),
        ("BOOL", [1, 2], b"[[true,false]]", b"[true,false]"),
    ],
)
def test_lists_that_are_nested_like_the_shape_are_read_as_flat_ones(
    datatype: str, shape: list[int], nested: bytes, flat: bytes
):
    contents = [bytes(decode_request(body(data, datatype, shape), None).tensors[0].data) for data in (nested, flat)]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    "data", [b"[[1, 2, 3, 4]]", b"[[1], [2], [3], [4]]", b"[[1, 2], [3, 4], []]", b"[1, [2, 3], 4]"]
)
def test_lists_of_another_nesting_are_refused(data: bytes):
    with pytest.raises(InvalidFrame, match="neither flat nor nested like the shape"):
        decode_request(body(data, shape=[2, 2]), None)


def test_the_error_of_a_hostile_tail_is_read_in_bounded_memory():
    content = b'{"error":' + items(b"[]", 20_000) + b"}"
    assert len(Reply(500, {}, content).message) <= 500
    assert peak_bytes(lambda: Reply(500, {}, content).message) < JSON_MEMORY * len(content)
