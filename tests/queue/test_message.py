"""Requests and replies as messages of a queue."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_batch.data.aws.queue import MOST_BYTES, Incoming, Outgoing, together
from hybrid_batch.data.errors import BadFrame
from hybrid_batch.inference.protocol.message import (
    is_replies_name,
    read_reply,
    read_request,
    replies_name,
    room_in_message,
    write_reply,
    write_request,
)
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.serving.sqs.queued_request import Letter

ID = "0123456789abcdef0123456789abcdef"
REPLIES = replies_name("work", "0123456789ab")
REQUEST = Request("POST", "/v2/models/m/versions/c001/infer", {"Inference-Header-Content-Length": "12"}, b"\0\xff" * 9)


def received(message: Outgoing, **attributes: str) -> Incoming:
    return Incoming(message.text, {**message.attributes, **attributes}, "handle", 1)


def test_a_request_arrives_as_it_was_sent():
    assert read_request(received(write_request(REQUEST, ID, REPLIES))) == REQUEST


def test_a_reply_arrives_as_it_was_sent():
    reply = Reply(409, {"Content-Type": "application/json"}, b'{"error": "\xc3\xbc"}')
    assert read_reply(received(write_reply(reply, ID)), 0) == reply


@given(st.integers(0, 60), st.text(alphabet="abc", max_size=40))
def test_what_has_room_fits_and_three_bytes_more_do_not(length, header):
    request = Request("POST", "/v2/" + "p" * length, {"h": header})
    room, longest = room_in_message(request), "x" * 80

    def size(content: int) -> int:
        return write_request(
            Request("POST", request.path, request.headers, b"\0" * content), ID, longest, "f" * 64
        ).size

    assert size(room) <= MOST_BYTES < size(room + 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no JSON", "not JSON"),
        ("[" * 100_000, "not JSON"),
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
def test_what_is_no_request_is_answered_with_what_is_wrong(bundle, text, words):
    message = Incoming(text, {"id": ID, "reply_to": REPLIES}, "handle", 1)
    with pytest.raises(BadFrame, match=words):
        read_request(message)
    letter = Letter.read(message, "work", bundle)
    assert isinstance(letter.asked, Reply)
    assert letter.asked.status == 400
    assert words in letter.asked.message
    assert not letter.is_for_others


@pytest.mark.parametrize("text", ["{", '{"status": "200"}', '{"status": true}', '{"status": 200, "body": "="}'])
def test_what_is_no_reply_is_refused(text):
    with pytest.raises(BadFrame):
        read_reply(Incoming(text, {"id": ID}, "handle", 1), 0)


@pytest.mark.parametrize(
    "name",
    ["", "work", "work-replies", "work-replies-", "other-replies-0123456789ab", "work-replies-0123456789abc",
     "work-replies-0123456789aB", "https://sqs.eu-west-1.amazonaws.com/1/work-replies-0123456789ab"],
)  # fmt: skip
def test_replies_go_to_clients_of_the_queue_alone(bundle, name):
    assert not is_replies_name("work", name)
    with pytest.raises(BadFrame, match="no client's"):
        Letter.read(received(write_request(REQUEST, ID, REPLIES), reply_to=name), "work", bundle)


@pytest.mark.parametrize("number", ["", "1", ID.upper(), ID + "0"])
def test_a_message_without_an_id_cannot_be_answered(bundle, number):
    with pytest.raises(BadFrame, match="hexadecimal"):
        Letter.read(received(write_request(REQUEST, ID, REPLIES), id=number), "work", bundle)


def test_a_client_of_the_queue_is_answered(bundle):
    letter = Letter.read(received(write_request(REQUEST, ID, REPLIES)), "work", bundle)
    assert (letter.number, letter.reply_to, letter.asked) == (ID, REPLIES, REQUEST)


def test_a_request_is_read_by_workers_with_its_bundle_alone(bundle):
    assert Letter.read(received(write_request(REQUEST, ID, REPLIES, bundle.sha256)), "work", bundle).asked == REQUEST
    other = Letter.read(received(write_request(REQUEST, ID, REPLIES, "f" * 64)), "work", bundle)
    assert other.is_for_others
    assert isinstance(other.asked, Reply)
    assert other.asked.message.startswith("The request is for bundle ffffffffffff, but digits here is")


def test_a_reply_too_large_for_a_queue_is_refused_where_there_is_no_place_for_it(bundle):
    letter = Letter.read(received(write_request(REQUEST, ID, REPLIES)), "work", bundle)
    fits = (MOST_BYTES - write_reply(Reply(200), ID).size) // 4 * 3
    assert read_reply(received(letter.answer(Reply(200, {}, b"\0" * fits), None)), 0).status == 200
    refused = read_reply(received(letter.answer(Reply(200, {}, b"\0" * (fits + 3)), None)), 0)
    assert refused.status == 413
    assert f"{fits + 3} bytes" in refused.message


def test_messages_go_together_up_to_ten_and_to_the_limit_of_bytes():
    small, large = Outgoing("x" * 100), Outgoing("x" * (MOST_BYTES // 2))
    assert together([]) == 0
    assert together([small] * 11) == 10
    assert together([large, large, small]) == 2
    assert together([large, small, large]) == 2
    assert together([Outgoing("x" * MOST_BYTES), small]) == 1
    assert together([Outgoing("x" * 2 * MOST_BYTES)]) == 1


def test_the_size_is_that_of_text_and_attributes():
    assert Outgoing("ü", {"id": "ab"}).size == 2 + len("id") + len("String") + 2
    assert json.loads(write_request(REQUEST, ID, REPLIES).text)["method"] == "POST"
