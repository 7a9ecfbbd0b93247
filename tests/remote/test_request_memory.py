"""Requests whose few bytes stand for much memory or time, and targets and methods beyond the protocol's."""

import asyncio
import gc
import json
import signal
import tracemalloc

import httpx
import numpy as np
import pytest

from hybrid_batch.inference.protocol.codecs import open_tensor_codec
from hybrid_batch.inference.protocol.codecs.wire_tensors import SERVED_BYTES
from hybrid_batch.inference.protocol.transport import Request
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH, Frame, WireTensor, encode_request
from hybrid_batch.inference.serving.http.app import make_app
from hybrid_batch.inference.serving.http.async_handler import ServerSettings
from hybrid_batch.inference.serving.inference_request import reply_bytes
from hybrid_batch.inference.serving.oip import Operation, RequestTarget
from hybrid_batch.inference.serving.replies import HttpError
from hybrid_batch.inference.serving.request_handler import Limits, RequestHandler
from tests.remote.limited_server import limited_server, read_all, status_of


def packed(bundle, cut_id: str, batch: int, codec: str) -> Frame:
    spec = bundle.cut(cut_id).boundary[0]
    shape = (batch, *spec.shape)
    data = open_tensor_codec(codec).pack(np.zeros(shape, np.float32))
    parameters = {"codec": codec, "shape": list(shape), "datatype": spec.datatype}
    return Frame((WireTensor(spec.name, "UINT8", (len(data),), data, parameters),))


def start(handler: RequestHandler, cut_id: str, content: bytes, headers: dict[str, str], reserve):
    target = RequestTarget(Operation.INFER, handler.bundle.name, cut_id)
    return handler.start(target, Request("POST", "/", headers, content), reserve=reserve)


@pytest.mark.parametrize("codec", ["int8", "q2"])
def test_the_peak_of_a_codec_is_reserved_before_it_decodes(bundle, runtime, codec):
    body = encode_request(packed(bundle, "c004", 300, codec))
    reserved: list[int] = []
    start(RequestHandler(bundle, runtime), "c004", body.join(), body.headers, reserved.append)
    spec = bundle.cut("c004").boundary[0]
    assert sum(reserved) > open_tensor_codec(codec).peak_bytes((300, *spec.shape), np.dtype("f4"))


def test_a_request_decodes_to_a_limited_size_whatever_its_own(bundle, runtime):
    image_bytes = 4 * bundle.cut("c004").elements
    handler = RequestHandler(bundle, runtime, Limits(request_decoded_bytes=9 * image_bytes))
    for batch, refused in ((9, False), (10, True), (1000, True)):
        body = encode_request(packed(bundle, "c004", batch, "int8"))
        reply = handler.handle(Request("POST", "/v2/models/digits/versions/c004/infer", body.headers, body.join()))
        assert (reply.status == 413) == refused, reply.content
        if refused:
            assert "--max-request-mb" in json.loads(reply.content)["error"]
    assert Limits().request_decoded_bytes == SERVED_BYTES


def test_the_reply_is_reserved_and_an_output_is_named_once(bundle, runtime):
    frame = packed(bundle, "c004", 100, "int8")
    body = encode_request(frame)
    length = int(body.headers[HEADER_LENGTH])
    head = json.loads(body.join()[:length])

    def send(outputs: list[dict]) -> tuple[int, int]:
        text = json.dumps({**head, "outputs": outputs}).encode()
        content, headers, reserved = text + body.join()[length:], {HEADER_LENGTH: str(len(text))}, []
        request = Request("POST", "/v2/models/digits/versions/c004/infer", headers, content)
        handler = RequestHandler(bundle, runtime)
        status = handler.handle(request).status
        if status == 200:
            start(handler, "c004", content, headers, reserved.append)
        return status, sum(reserved)

    name = bundle.output.name
    as_json, as_binary = ({"name": name, "parameters": {"binary_data": binary}} for binary in (False, True))
    binary_bytes, json_bytes = send([as_binary])[1], send([as_json])[1]
    assert json_bytes - binary_bytes == 52 * 100 * bundle.output.elements
    assert reply_bytes(bundle, frame, 100) == 64 * 100 * bundle.output.elements
    assert [send([as_json] * count)[0] for count in (2, 64)] == [400, 400]


def reply_to(server, lines: bytes) -> bytes:
    with server.connect() as client:
        client.sendall(lines + b"Host: x\r\nConnection: close\r\n\r\n")
        return read_all(client)


def test_every_target_passes_the_checks_and_is_logged(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-a-client-0123456789abcdef\n")
    tokens.chmod(0o600)
    targets = [b"GET http://host/v2", b"OPTIONS *", b"GET /v2/models/a%0ab", b"GET /nowhere", b"A" * 8000 + b" /v2"]
    settings = f"access=AccessSettings({str(tokens)!r}), access_log=True"
    with limited_server(settings) as server:
        replies = [reply_to(server, target + b" HTTP/1.1\r\n") for target in targets]
        log = [line for line in server.log().splitlines() if "/health/" not in line]
    assert [status_of(reply) for reply in replies] == [401] * len(targets)
    assert all(b'{"error":' in reply for reply in replies)
    assert len(log) == len(targets)
    assert max(map(len, log)) < 400


def test_a_target_in_absolute_form_is_served_and_an_unknown_one_is_404_in_json():
    with limited_server() as server:
        for target in (b"http://other.example/v2/health/live", b"HTTP://user@other:80/v2/health/live?a=b"):
            assert status_of(reply_to(server, b"GET " + target + b" HTTP/1.1\r\n")) == 200
        for target in (b"GET http://host", b"OPTIONS *", b"GET /v2/models/a%0ab", b"GET http://a/http://b/v2"):
            reply = reply_to(server, target + b" HTTP/1.1\r\n")
            assert status_of(reply) == 404
            assert b'{"error":' in reply


def test_a_server_without_tokens_and_certificate_survives_the_signal_that_reads_them_again():
    with limited_server() as server:
        server.process.send_signal(signal.SIGHUP)
        assert server.infer()[0] == 200
        assert server.process.poll() is None


def test_json_of_many_scores_is_what_a_list_of_them_would_be(bundle, runtime):
    content = json.dumps({"inputs": [{"name": "image:0", "datatype": "FP32", "shape": [0, 8, 8, 1], "data": []}]})
    handler = RequestHandler(bundle, runtime)
    path = "/v2/models/digits/infer"
    empty = json.loads(handler.handle(Request("POST", path, {}, content.encode())).content)
    assert empty["outputs"][0]["data"] == []
    images = np.random.default_rng(5).random((1024, 8, 8, 1), np.float32)
    tensor = {"name": "image:0", "datatype": "FP32", "shape": list(images.shape), "data": images.ravel().tolist()}
    reply = handler.handle(Request("POST", path, {}, json.dumps({"inputs": [tensor]}).encode()))
    scores = json.loads(reply.content)["outputs"][0]["data"]
    assert len(scores) == 10240
    assert np.allclose(np.reshape(scores, (1024, 10)).sum(1), 1, atol=1e-4)


def test_hostile_decoded_sizes_raise_http_errors(bundle, runtime):
    body = encode_request(packed(bundle, "c004", 1000, "q2"))
    handler = RequestHandler(bundle, runtime, Limits(request_decoded_bytes=1000))
    reserved: list[int] = []
    with pytest.raises(HttpError, match="1000 images"):
        start(handler, "c004", body.join(), body.headers, reserved.append)
    assert not reserved, "nothing is reserved, and nothing decoded, for what is refused"


def test_a_refused_request_is_freed_at_once(bundle):
    """Errors hold the calls that they passed, and these the request, until cycles are collected."""
    app, content = make_app(ServerSettings(bundle)), b'{"inputs":[' + b" " * (4 << 20) + b"]}"

    async def refuse() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return [(await client.post("/v2/models/digits/infer", content=content)).status_code for _ in range(4)]

    asyncio.run(refuse())
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        assert asyncio.run(refuse()) == [400] * 4
        held = tracemalloc.get_traced_memory()[0]
    finally:
        gc.enable()
        tracemalloc.stop()
        app.handler.close()
    assert held < len(content)
