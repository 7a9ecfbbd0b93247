"""Half of a surrogate pair is not text: in every field of a request and of a reply it is refused in one sentence."""

import json
from http import HTTPStatus

import pytest

from hybrid_batch.data.aws.queue import ReceivedMessage
from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime
from hybrid_batch.inference.protocol.message import parse_reply, parse_request, reply_queue_name
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH, decode_response
from hybrid_batch.inference.serving.request_handler import RequestHandler
from hybrid_batch.inference.serving.sqs.queued_request import QueuedRequest

HALF = "\udc80 \ud800"
TENSOR = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["x"]}
REQUESTS = {
    "id": {"id": HALF, "inputs": [TENSOR]},
    "name": {"inputs": [TENSOR | {"name": HALF}]},
    "datatype": {"inputs": [TENSOR | {"datatype": HALF}]},
    "data": {"inputs": [TENSOR | {"data": [HALF]}]},
    "data of FP32": {"inputs": [TENSOR | {"datatype": "FP32", "data": [HALF]}]},
    "codec": {"inputs": [TENSOR | {"parameters": {"codec": HALF}}]},
    "name of a parameter": {"inputs": [TENSOR], "parameters": {HALF: 1}},
    "bundle": {"inputs": [TENSOR], "parameters": {"bundle": HALF}},
    "output": {"inputs": [TENSOR], "outputs": [{"name": HALF}]},
    "unknown field": {"inputs": [TENSOR], "other": HALF},
}


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS)
def test_a_request_is_refused_with_400(bundle: Bundle, runtime: Runtime, fields: dict, binary: bool) -> None:
    content = json.dumps(fields).encode()
    headers = {HEADER_LENGTH: str(len(content))} if binary else {}
    reply = RequestHandler(bundle, runtime).handle(
        Request("POST", f"/v2/models/{bundle.name}/versions/c000/infer", headers, content)
    )
    assert (reply.status, reply.message.count("\n")) == (HTTPStatus.BAD_REQUEST, 0)
    assert "half of a surrogate pair" in reply.message
    json.loads(reply.content)["error"].encode()


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS)
def test_the_reply_of_a_tail_is_refused(fields: dict) -> None:
    content = json.dumps({"outputs" if key == "inputs" else key: value for key, value in fields.items()}).encode()
    with pytest.raises(InvalidFrame) as refused:
        decode_response(content, None)
    str(refused.value).encode()


MESSAGES = [
    {"method": HALF, "path": "/v2"},
    {"method": "GET", "path": HALF},
    {"method": "GET", "path": "/v2", "headers": {"a": HALF}},
    {"method": "GET", "path": "/v2", "headers": {HALF: "a"}},
    {"method": "GET", "path": "/v2", "body": HALF},
]


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("fields", MESSAGES, ids=str)
def test_a_message_of_a_queue_is_answered_with_400(bundle: Bundle, fields: dict, escaped: bool) -> None:
    text = json.dumps(fields, ensure_ascii=escaped)
    message = ReceivedMessage(text, {"id": "0" * 32, "reply_to": reply_queue_name("work", "0" * 12)}, "handle", 1)
    parsed = QueuedRequest.parse(message, "work", bundle).parsed
    assert isinstance(parsed, Reply)
    assert parsed.status == HTTPStatus.BAD_REQUEST
    for parse in (parse_request, lambda message: parse_reply(message, 0)):
        with pytest.raises(InvalidFrame) as refused:
            parse(message)
        str(refused.value).encode()


@pytest.mark.parametrize("key", ["error", "message"])
def test_the_error_of_a_tail_can_be_printed(key: str) -> None:
    reply = Reply(500, {}, json.dumps({key: HALF}).encode())
    assert reply.message.encode().startswith(b'{"')
