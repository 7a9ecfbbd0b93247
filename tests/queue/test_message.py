"""Requests and replies as messages of a queue."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_batch.data.aws.queue import MAX_BATCH_BYTES, OutgoingMessage, ReceivedMessage, batch_length
from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.protocol.message import (
    is_reply_queue_name,
    max_message_content_bytes,
    parse_reply,
    parse_request,
    reply_message,
    reply_queue_name,
    request_message,
)
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.serving.sqs.queued_request import QueuedRequest

ID = "0123456789abcdef0123456789abcdef"
REPLIES = reply_queue_name("work", "0123456789ab")
REQUEST = Request("POST", "/v2/models/m/versions/c001/infer", {"Inference-Header-Content-Length": "12"}, b"\0\xff" * 9)


def received(message: OutgoingMessage, **attributes: str) -> ReceivedMessage:
    return ReceivedMessage(message.text, {**message.attributes, **attributes}, "handle", 1)


def test_a_request_arrives_as_it_was_sent():
    assert parse_request(received(request_message(REQUEST, ID, REPLIES))) == REQUEST


def test_a_reply_arrives_as_it_was_sent():
    reply = Reply(409, {"Content-Type": "application/json"}, b'{"error": "\xc3\xbc"}')
    assert parse_reply(received(reply_message(reply, ID)), 0) == reply


@given(st.integers(0, 60), st.text(alphabet="abc", max_size=40))
def test_the_largest_content_fits_into_a_message_and_three_bytes_more_do_not(length, header):
    request = Request("POST", "/v2/" + "p" * length, {"h": header})
    largest, longest_name = max_message_content_bytes(request), "x" * 80

    def size(content: int) -> int:
        return request_message(
            Request("POST", request.path, request.headers, b"\0" * content), ID, longest_name, "f" * 64
        ).size

    assert size(largest) <= MAX_BATCH_BYTES < size(largest + 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no JSON", "not JSON"),
        ('{"a":' * 100_000, "not JSON"),
        ("[" * 100_000, "not a JSON object"),
        ("[]", "not a JSON object"),
        ('{"path": "/v2"}', "method or path"),
        ('{"method": "GET", "path": 1}', "method or path"),
        ('{"method": "GET", "path": "/v2", "headers": {"a": 1}}', "headers"),
        ('{"method": "GET", "path": "/v2", "headers": []}', "headers"),
        ('{"method": "GET", "path": "/v2", "body": "@"}', "base64"),
        ('{"method": "GET", "path": "/v2", "body": "ü"}', "base64"),
        ('{"method": "GET", "path": "/v2", "body": 1}', "base64"),
    ],
)
def test_an_invalid_request_is_answered_with_its_error(bundle, text, words):
    message = ReceivedMessage(text, {"id": ID, "reply_to": REPLIES}, "handle", 1)
    with pytest.raises(InvalidFrame, match=words):
        parse_request(message)
    queued = QueuedRequest.parse(message, "work", bundle)
    assert isinstance(queued.parsed, Reply)
    assert queued.parsed.status == 400
    assert words in queued.parsed.message
    assert not queued.needs_other_bundle


@pytest.mark.parametrize("text", ["{", '{"status": "200"}', '{"status": true}', '{"status": 200, "body": "="}'])
def test_an_invalid_reply_is_rejected(text):
    with pytest.raises(InvalidFrame):
        parse_reply(ReceivedMessage(text, {"id": ID}, "handle", 1), 0)


@pytest.mark.parametrize(
    "name",
    ["", "work", "work-replies", "work-replies-", "other-replies-0123456789ab", "work-replies-0123456789abc",
     "work-replies-0123456789aB", "https://sqs.eu-west-1.amazonaws.com/1/work-replies-0123456789ab"],
)  # fmt: skip
def test_replies_go_only_to_reply_queues_of_the_work_queue(bundle, name):
    assert not is_reply_queue_name("work", name)
    with pytest.raises(InvalidFrame, match="not a reply queue of 'work'"):
        QueuedRequest.parse(received(request_message(REQUEST, ID, REPLIES), reply_to=name), "work", bundle)


@pytest.mark.parametrize("number", ["", "1", ID.upper(), ID + "0"])
def test_a_message_without_an_id_is_rejected(bundle, number):
    with pytest.raises(InvalidFrame, match="hexadecimal"):
        QueuedRequest.parse(received(request_message(REQUEST, ID, REPLIES), id=number), "work", bundle)


def test_a_request_is_parsed_with_its_id_and_reply_queue(bundle):
    queued = QueuedRequest.parse(received(request_message(REQUEST, ID, REPLIES)), "work", bundle)
    assert (queued.request_id, queued.reply_to, queued.parsed) == (ID, REPLIES, REQUEST)


def test_a_request_is_parsed_only_by_workers_with_its_bundle(bundle):
    own = QueuedRequest.parse(received(request_message(REQUEST, ID, REPLIES, bundle.sha256)), "work", bundle)
    assert own.parsed == REQUEST
    other = QueuedRequest.parse(received(request_message(REQUEST, ID, REPLIES, "f" * 64)), "work", bundle)
    assert other.needs_other_bundle
    assert isinstance(other.parsed, Reply)
    assert other.parsed.message.startswith("The request is for bundle ffffffffffff, but this tail serves digits (")


def test_an_oversized_reply_without_an_s3_prefix_is_an_error(bundle):
    queued = QueuedRequest.parse(received(request_message(REQUEST, ID, REPLIES)), "work", bundle)
    fits = (MAX_BATCH_BYTES - reply_message(Reply(200), ID).size) // 4 * 3
    assert parse_reply(received(queued.encode_reply(Reply(200, {}, b"\0" * fits), None)), 0).status == 200
    refused = parse_reply(received(queued.encode_reply(Reply(200, {}, b"\0" * (fits + 3)), None)), 0)
    assert refused.status == 413
    assert f"{fits + 3} bytes" in refused.message


def test_a_batch_has_up_to_ten_messages_within_the_size_limit():
    small, large = OutgoingMessage("x" * 100), OutgoingMessage("x" * (MAX_BATCH_BYTES // 2))
    assert batch_length([]) == 0
    assert batch_length([small] * 11) == 10
    assert batch_length([large, large, small]) == 2
    assert batch_length([large, small, large]) == 2
    assert batch_length([OutgoingMessage("x" * MAX_BATCH_BYTES), small]) == 1
    assert batch_length([OutgoingMessage("x" * 2 * MAX_BATCH_BYTES)]) == 1


def test_the_size_of_a_message_includes_its_attributes():
    assert OutgoingMessage("ü", {"id": "ab"}).size == 2 + len("id") + len("String") + 2
    assert json.loads(request_message(REQUEST, ID, REPLIES).text)["method"] == "POST"
