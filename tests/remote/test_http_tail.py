"""Our client against servers that fail: a script of behaviours, played one per request over real sockets."""

import base64
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from hybrid_batch.data.errors import BadFrame, OtherBundle, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.infer_response import TailTimes, answer_frame
from hybrid_batch.inference.protocol.wire import Frame, encode_response
from hybrid_batch.inference.tails import open_tail
from hybrid_batch.inference.tails.http import http_tail
from hybrid_batch.inference.tails.local import LocalTail
from hybrid_batch.inference.tails.remote import ServedTail
from hybrid_batch.inference.tails.retry_policy import Patience
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import HANG_S
from tests.scripted import JSON, SILENCE, error, reply

HASTE = TailSettings(
    patience=Patience(
        connect_s=HANG_S, answer_s=HANG_S, attempts=4, silence_s=HANG_S, first_pause_s=0.01, longest_pause_s=0.02
    )
)
GREAT_HASTE = replace(HASTE, patience=replace(HASTE.patience, answer_s=0.5))  # for tails that never answer

DROP = None
CUT_OFF = b"HTTP/1.1 200 x\r\nContent-Length: 500\r\n\r\ncut off"
BUSY = error(429, "too many", "Retry-After: 1\r\n")
DOWN = error(503, "starting")


@pytest.fixture(autouse=True)
def proxy(monkeypatch):
    """A proxy named in the environment must not come between."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")


@pytest.fixture
def frame(bundle, heads, pixels):
    return Frame(codecs.encode("int8", bundle.cut("c004").boundary, heads("c004")([pixels[:3]])))


@pytest.fixture
def good(bundle):
    """A valid reply for a batch of three."""
    scores = np.arange(30, dtype=np.float32).reshape(3, 10)
    answer = answer_frame(bundle.output, scores, (None, "bad", None), TailTimes(1, 2, 3, 10**12))
    body = encode_response(answer, Frame((), parameters={"binary_data_output": True}), "digits", "c004")
    return reply(200, body.join(), "".join(f"{key}: {value}\r\n" for key, value in body.headers.items()))


def test_it_asks_again_until_there_is_an_answer(script, bundle, frame, good):
    server = script(DROP, DOWN, CUT_OFF, good)
    with http_tail(server.url, bundle, HASTE) as tail:
        answer = tail.infer("c004", frame)
    assert server.asked == ["/v2/models/digits/versions/c004/infer"] * 4
    assert answer.scores.ravel().tolist() == list(range(30))
    assert answer.errors == (None, "bad", None)
    assert answer.times == TailTimes(1, 2, 3, answer.round_trip_us), "a server's time is at most the round trip"
    assert answer.link_us == 0


def test_it_waits_as_long_as_a_busy_server_asks(script, bundle, frame, good):
    server = script(BUSY, good)
    began = time.monotonic()
    with http_tail(server.url, bundle, HASTE) as tail:
        tail.infer("c004", frame)
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        (DROP, "closed without an answer"),
        (DOWN, "503 starting"),
        (error(500, "broken"), "500 broken"),
        (error(429, "too many"), "429 too many"),
        (CUT_OFF, "closed in the middle"),
        (b"nonsense\r\n\r\n", "no HTTP"),
        (SILENCE, "timed out"),
    ],
)
def test_after_enough_attempts_the_tail_is_unreachable(script, bundle, frame, behaviour, cause):
    server = script(behaviour)
    haste = GREAT_HASTE if behaviour is SILENCE else HASTE
    with http_tail(server.url, bundle, haste) as tail, pytest.raises(TailUnreachable) as raised:
        tail.infer("c004", frame)
    assert len(server.asked) == HASTE.patience.attempts
    assert server.url in str(raised.value)
    assert f"{HASTE.patience.attempts} times" in str(raised.value)
    assert cause in str(raised.value)


def test_connections_are_kept_and_shared_by_threads(script, bundle, frame, good):
    server = script(good)
    with http_tail(server.url, bundle, TailSettings(in_flight=2)) as tail, ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: tail.infer("c004", frame), range(30)))
    assert len(answers) == len(server.requests) == 30
    assert server.connections <= 2


def test_a_connection_is_not_lost_by_an_answer_that_is_none(script, bundle, frame, good):
    server = script(CUT_OFF, reply(200, b"\x1f", "Content-Encoding: gzip\r\n"), reply(200, bytes(1 << 20)), good)
    once = TailSettings(in_flight=1, patience=Patience(attempts=1))
    with http_tail(server.url, bundle, once) as tail:
        for error in (TailUnreachable, BadFrame, BadFrame):
            with pytest.raises(error):
                tail.infer("c004", frame)
        tail.infer("c004", frame)


def test_what_an_address_holds_is_sent_and_not_told(script, bundle):
    server = script(error(400, "enough"))
    address = f"{server.url}/stage/?key=hidden".replace("://", "://user:pass%40word@")
    with http_tail(address, bundle) as tail, pytest.raises(TailRefused) as raised:
        tail.check("c004")
    (request,) = server.requests
    assert request.path == "/stage/v2/models/digits?key=hidden"
    assert base64.b64decode(request.headers["authorization"].removeprefix("Basic ")) == b"user:pass@word"
    assert not re.search("user|pass|hidden", str(raised.value))


def test_a_long_silence_is_told_once(script, bundle, frame):
    server = script(SILENCE)
    said = []
    patience = replace(GREAT_HASTE.patience, silence_s=0.4)
    with http_tail(server.url, bundle, TailSettings(patience=patience, say=said.append)) as tail:
        for _ in range(2):
            with pytest.raises(TailUnreachable):
                tail.infer("c004", frame)
    assert len(said) == 1
    assert re.fullmatch(rf"No answer from {server.url} in \d+ s \(timed out\); asking again\.", said[0])


def test_a_short_one_is_not(script, bundle, frame):
    server = script(DROP)
    said = []
    with http_tail(server.url, bundle, replace(HASTE, say=said.append)) as tail, pytest.raises(TailUnreachable):
        tail.infer("c004", frame)
    assert said == []


def test_nobody_there(bundle, frame):
    with (
        http_tail("http://127.0.0.1:1", bundle, HASTE) as tail,
        pytest.raises(TailUnreachable, match=r"127\.0\.0\.1:1.*refused"),
    ):
        tail.check("c004")


@pytest.mark.parametrize("status", [400, 404, 413, 302])
def test_a_refusal_is_final_and_keeps_the_servers_message(script, bundle, frame, status):
    server = script(error(status, "what you sent is wrong"))
    with (
        http_tail(server.url, bundle, HASTE) as tail,
        pytest.raises(TailRefused, match=f"{status}.*what you sent is wrong"),
    ):
        tail.infer("c004", frame)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"<html>hello</html>",
        b"{}",
        b'{"outputs": []}',
        b'{"outputs": [{"name": "Identity:0", "datatype": "FP32", "shape": [1, 10], "data": [0,1,2,3,4,5,6,7,8,9]}]}',
        b'{"outputs": [{"name": "other", "datatype": "FP32", "shape": [3], "data": [0, 1, 2]}]}',
        b"[" * 3000,
    ],
)
def test_an_answer_that_is_none_is_a_bad_frame(script, bundle, frame, content):
    server = script(reply(200, content, JSON))
    with http_tail(server.url, bundle, HASTE) as tail, pytest.raises(BadFrame):
        tail.infer("c004", frame)


def test_an_answer_without_end_is_cut_off(script, bundle, frame):
    endless = b"HTTP/1.1 200 x\r\n\r\n" + bytes(1 << 20)
    server = script(endless)
    with http_tail(server.url, bundle, HASTE) as tail, pytest.raises(BadFrame, match="more than"):
        tail.infer("c004", frame)


def test_a_compressed_answer_is_refused(script, bundle, frame):
    server = script(reply(200, b"\x1f\x8b", "Content-Encoding: gzip\r\n"))
    with http_tail(server.url, bundle, HASTE) as tail, pytest.raises(BadFrame, match="compressed"):
        tail.infer("c004", frame)


def test_a_long_error_message_is_cut_short(script, bundle, frame):
    server = script(reply(400, b"x\n" * 9999))
    with http_tail(server.url, bundle, HASTE) as tail, pytest.raises(TailRefused) as raised:
        tail.infer("c004", frame)
    assert len(str(raised.value)) < 700
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("metadata", [b"{}", b"[]", b'{"parameters": 3}', b"no"])
def test_a_server_that_does_not_tell_its_bundle_is_refused(script, bundle, metadata):
    server = script(reply(200, metadata, JSON))
    with http_tail(server.url, bundle, HASTE) as tail, pytest.raises(TailRefused, match="which bundle"):
        tail.check("c004")


def test_a_server_with_another_hash_is_refused_by_name(script, bundle):
    server = script(reply(200, b'{"parameters": {"sha256": "123456789abcdef"}}', JSON))
    with http_tail(server.url, bundle, HASTE) as tail, pytest.raises(OtherBundle) as raised:
        tail.check("c004")
    assert "123456789abc" in str(raised.value)
    assert bundle.sha256[:12] in str(raised.value)


def test_closing_ends_the_waiting(script, bundle, frame):
    server = script(error(429, "too many", "Retry-After: 9999\r\n"))
    patient = Patience(longest_retry_after_s=9999)
    tail = http_tail(server.url, bundle, TailSettings(patience=patient))
    raised = []

    def ask():
        try:
            tail.infer("c004", frame)
        except TailUnreachable as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not server.asked:
        time.sleep(0.01)
    time.sleep(0.1)
    tail.close()
    thread.join(HANG_S)
    assert len(raised) == 1


def test_pauses_grow_to_a_limit_and_honour_the_server():
    patience = Patience(first_pause_s=0.1, longest_pause_s=1, longest_retry_after_s=30)
    for failures, longest in ((1, 0.1), (2, 0.2), (3, 0.4), (9, 1.0)):
        pauses = [patience.pause_s(failures, None) for _ in range(100)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
    assert patience.pause_s(1, "7") == 7
    assert patience.pause_s(1, "9999999") == 30
    assert patience.pause_s(1, "Fri, 31 Dec 1999 23:59:59 GMT") <= 0.1


def test_addresses(bundle, engine):
    assert isinstance(open_tail("local", bundle, engine), LocalTail)
    with open_tail("http://127.0.0.1:1/", bundle, engine) as tail:
        assert isinstance(tail, ServedTail)
    for wrong in ("", "ftp://host", "host:8000", "http://", "http://host:port", "Local"):
        with pytest.raises(WrongUsage, match="give"):
            open_tail(wrong, bundle, engine)
    with pytest.raises(WrongUsage) as raised:
        open_tail("http://someone:hidden@host:port", bundle, engine)
    assert "hidden" not in str(raised.value)
