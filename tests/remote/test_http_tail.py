"""The tail over HTTP against servers that fail, over real sockets."""

import base64
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from hybrid_batch.data.errors import BundleMismatch, InvalidFrame, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.infer_response import ServerTimings, response_frame
from hybrid_batch.inference.protocol.wire import Frame, encode_response
from hybrid_batch.inference.tails import open_tail
from hybrid_batch.inference.tails.http import open_http_tail
from hybrid_batch.inference.tails.local import LocalTail
from hybrid_batch.inference.tails.remote import RemoteTail
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings
from tests.conftest import HANG_S
from tests.scripted_server import JSON, SILENCE, error, reply

FAST = TailSettings(
    retries=RetryPolicy(
        connect_timeout_s=HANG_S,
        response_timeout_s=HANG_S,
        attempts=4,
        notice_after_s=HANG_S,
        first_pause_s=0.01,
        max_pause_s=0.02,
    )
)
VERY_FAST = replace(FAST, retries=replace(FAST.retries, response_timeout_s=0.5))  # for tails that never reply

DROP = None
CUT_OFF = b"HTTP/1.1 200 x\r\nContent-Length: 500\r\n\r\ncut off"
BUSY = error(429, "too many", "Retry-After: 1\r\n")
DOWN = error(503, "starting")


@pytest.fixture(autouse=True)
def proxy(monkeypatch):
    """A proxy in the environment must not be used for loopback addresses."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")


@pytest.fixture
def frame(bundle, heads, pixels):
    return Frame(wire_tensors.encode("int8", bundle.cut("c004").boundary, heads("c004")([pixels[:3]])))


@pytest.fixture
def good(bundle):
    """A valid reply for a batch of three."""
    scores = np.arange(30, dtype=np.float32).reshape(3, 10)
    answer = response_frame(bundle.output, scores, (None, "bad", None), ServerTimings(1, 2, 3, 10**12))
    body = encode_response(answer, Frame((), parameters={"binary_data_output": True}), "digits", "c004")
    return reply(200, body.join(), "".join(f"{key}: {value}\r\n" for key, value in body.headers.items()))


def test_failed_requests_are_retried_until_a_reply(scripted_server, bundle, frame, good):
    server = scripted_server(DROP, DOWN, CUT_OFF, good)
    with open_http_tail(server.url, bundle, FAST) as tail:
        response = tail.infer("c004", frame)
    assert server.paths == ["/v2/models/digits/versions/c004/infer"] * 4
    assert response.scores.ravel().tolist() == list(range(30))
    assert response.errors == (None, "bad", None)
    assert response.timings == ServerTimings(1, 2, 3, response.round_trip_us), (
        "a server's time is at most the round trip"
    )
    assert response.link_us == 0


def test_retry_after_is_honoured(scripted_server, bundle, frame, good):
    server = scripted_server(BUSY, good)
    began = time.monotonic()
    with open_http_tail(server.url, bundle, FAST) as tail:
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
        (b"nonsense\r\n\r\n", "not HTTP"),
        (SILENCE, "timed out"),
    ],
)
def test_after_enough_attempts_the_tail_is_unreachable(scripted_server, bundle, frame, behaviour, cause):
    server = scripted_server(behaviour)
    settings = VERY_FAST if behaviour is SILENCE else FAST
    with open_http_tail(server.url, bundle, settings) as tail, pytest.raises(TailUnreachable) as raised:
        tail.infer("c004", frame)
    assert len(server.paths) == FAST.retries.attempts
    assert server.url in str(raised.value)
    assert f"in {FAST.retries.attempts} attempts" in str(raised.value)
    assert cause in str(raised.value)


def test_connections_are_reused_by_all_threads(scripted_server, bundle, frame, good):
    server = scripted_server(good)
    with open_http_tail(server.url, bundle, TailSettings(in_flight=2)) as tail, ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: tail.infer("c004", frame), range(30)))
    assert len(answers) == len(server.requests) == 30
    assert server.connections <= 2


def test_a_bad_response_frees_its_connection(scripted_server, bundle, frame, good):
    server = scripted_server(
        CUT_OFF, reply(200, b"\x1f", "Content-Encoding: gzip\r\n"), reply(200, bytes(1 << 20)), good
    )
    once = TailSettings(in_flight=1, retries=RetryPolicy(attempts=1))
    with open_http_tail(server.url, bundle, once) as tail:
        for error in (TailUnreachable, InvalidFrame, InvalidFrame):
            with pytest.raises(error):
                tail.infer("c004", frame)
        tail.infer("c004", frame)


def test_secrets_in_the_address_are_sent_but_not_reported(scripted_server, bundle):
    server = scripted_server(error(400, "enough"))
    address = f"{server.url}/stage/?key=hidden".replace("://", "://user:pass%40word@")
    with open_http_tail(address, bundle) as tail, pytest.raises(TailRefused) as raised:
        tail.check("c004")
    (request,) = server.requests
    assert request.path == "/stage/v2/models/digits?key=hidden"
    assert base64.b64decode(request.headers["authorization"].removeprefix("Basic ")) == b"user:pass@word"
    assert not re.search("user|pass|hidden", str(raised.value))


def test_a_long_wait_is_notified_once(scripted_server, bundle, frame):
    server = scripted_server(SILENCE)
    said = []
    retries = replace(VERY_FAST.retries, notice_after_s=0.4)
    with open_http_tail(server.url, bundle, TailSettings(retries=retries, notify=said.append)) as tail:
        for _ in range(2):
            with pytest.raises(TailUnreachable):
                tail.infer("c004", frame)
    assert len(said) == 1
    assert re.fullmatch(rf"No answer from {server.url} in 1 attempt \(timed out\); retrying\.", said[0])


def test_an_absent_tail_is_retried_with_patience_and_announced_once(scripted_server, bundle, good, frame):
    """More failures than `attempts`, for an outage that ends within `patience_s`."""
    server = scripted_server(*[DROP] * (FAST.retries.attempts + 3), good)
    said = []
    retries = replace(FAST.retries, patience_s=HANG_S)
    with open_http_tail(server.url, bundle, TailSettings(retries=retries, notify=said.append)) as tail:
        assert tail.infer("c004", frame).errors == (None, "bad", None)
    assert len(server.paths) == FAST.retries.attempts + 4
    first, last = said
    assert re.fullmatch(rf"No answer from {server.url} in 4 attempts \(.*\); retrying for \d+ s more\.", first)
    assert last == f"{server.url} answers again."


def test_patience_ends(bundle, frame):
    retries = replace(FAST.retries, attempts=1, patience_s=0.1)
    with (
        open_http_tail("http://127.0.0.1:1", bundle, TailSettings(retries=retries)) as tail,
        pytest.raises(TailUnreachable, match=r"No answer from .* in \d+ attempts"),
    ):
        tail.infer("c004", frame)


def test_closing_a_tail_ends_the_patience_of_a_request(scripted_server, bundle, frame):
    server = scripted_server(DROP)
    retries = replace(FAST.retries, attempts=1, patience_s=HANG_S)
    announced = threading.Event()
    tail = open_http_tail(server.url, bundle, TailSettings(retries=retries, notify=lambda _: announced.set()))
    with ThreadPoolExecutor(1) as threads:
        request = threads.submit(tail.infer, "c004", frame)
        assert announced.wait(HANG_S)
        tail.close()
        with pytest.raises(TailUnreachable, match="the tail was closed"):
            request.result(HANG_S)


def test_a_short_wait_is_not_notified(scripted_server, bundle, frame):
    server = scripted_server(DROP)
    said = []
    with open_http_tail(server.url, bundle, replace(FAST, notify=said.append)) as tail, pytest.raises(TailUnreachable):
        tail.infer("c004", frame)
    assert said == []


def test_an_unreachable_tail_is_one_sentence(bundle, frame):
    with (
        open_http_tail("http://127.0.0.1:1", bundle, FAST) as tail,
        pytest.raises(TailUnreachable, match=r"127\.0\.0\.1:1.*refused"),
    ):
        tail.check("c004")


@pytest.mark.parametrize("status", [400, 404, 413, 302])
def test_a_refusal_is_not_retried_and_keeps_the_servers_message(scripted_server, bundle, frame, status):
    server = scripted_server(error(status, "bad request"))
    with (
        open_http_tail(server.url, bundle, FAST) as tail,
        pytest.raises(TailRefused, match=f"{status}.*bad request"),
    ):
        tail.infer("c004", frame)
    assert len(server.paths) == 1


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
def test_an_invalid_response_is_an_invalid_frame(scripted_server, bundle, frame, content):
    server = scripted_server(reply(200, content, JSON))
    with open_http_tail(server.url, bundle, FAST) as tail, pytest.raises(InvalidFrame):
        tail.infer("c004", frame)


def test_an_endless_response_is_rejected(scripted_server, bundle, frame):
    endless = b"HTTP/1.1 200 x\r\n\r\n" + bytes(1 << 20)
    server = scripted_server(endless)
    with open_http_tail(server.url, bundle, FAST) as tail, pytest.raises(InvalidFrame, match="more than"):
        tail.infer("c004", frame)


def test_a_compressed_response_is_rejected(scripted_server, bundle, frame):
    server = scripted_server(reply(200, b"\x1f\x8b", "Content-Encoding: gzip\r\n"))
    with open_http_tail(server.url, bundle, FAST) as tail, pytest.raises(InvalidFrame, match="compressed"):
        tail.infer("c004", frame)


def test_a_long_error_message_is_truncated(scripted_server, bundle, frame):
    server = scripted_server(reply(400, b"x\n" * 9999))
    with open_http_tail(server.url, bundle, FAST) as tail, pytest.raises(TailRefused) as raised:
        tail.infer("c004", frame)
    assert len(str(raised.value)) < 700
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("metadata", [b"{}", b"[]", b'{"parameters": 3}', b"no"])
def test_a_server_that_does_not_report_its_bundle_is_rejected(scripted_server, bundle, metadata):
    server = scripted_server(reply(200, metadata, JSON))
    with open_http_tail(server.url, bundle, FAST) as tail, pytest.raises(TailRefused, match="which bundle"):
        tail.check("c004")


def test_a_server_with_another_bundle_is_a_mismatch_of_both_hashes(scripted_server, bundle):
    server = scripted_server(reply(200, b'{"parameters": {"sha256": "123456789abcdef"}}', JSON))
    with open_http_tail(server.url, bundle, FAST) as tail, pytest.raises(BundleMismatch) as raised:
        tail.check("c004")
    assert "123456789abc" in str(raised.value)
    assert bundle.sha256[:12] in str(raised.value)


def test_closing_interrupts_a_wait(scripted_server, bundle, frame):
    server = scripted_server(error(429, "too many", "Retry-After: 9999\r\n"))
    retries = RetryPolicy(max_retry_after_s=9999, patience_s=9999)
    tail = open_http_tail(server.url, bundle, TailSettings(retries=retries))
    raised = []

    def infer():
        try:
            tail.infer("c004", frame)
        except TailUnreachable as error:
            raised.append(error)

    thread = threading.Thread(target=infer)
    thread.start()
    while not server.paths:
        time.sleep(0.01)
    time.sleep(0.1)
    tail.close()
    thread.join(HANG_S)
    assert len(raised) == 1


def test_pauses_grow_to_a_limit_and_honour_retry_after():
    policy = RetryPolicy(first_pause_s=0.1, max_pause_s=1, max_retry_after_s=30, patience_s=60)
    for failures, longest in ((1, 0.1), (2, 0.2), (3, 0.4), (9, 1.0)):
        pauses = [policy.pause_s(failures, None) for _ in range(100)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
    assert policy.pause_s(1, "7") == 7
    assert policy.pause_s(1, "9999999") == 30
    assert policy.pause_s(1, "9999999", waited_s=55) == 5
    assert policy.pause_s(1, "9999999", waited_s=100) == 1
    assert policy.pause_s(1, "Fri, 31 Dec 1999 23:59:59 GMT") <= 0.1


def test_addresses(bundle, runtime):
    assert isinstance(open_tail("local", bundle, runtime), LocalTail)
    with open_tail("http://127.0.0.1:1/", bundle, runtime) as tail:
        assert isinstance(tail, RemoteTail)
    for wrong in ("", "ftp://host", "host:8000", "http://", "http://host:port", "Local"):
        with pytest.raises(WrongUsage, match="give"):
            open_tail(wrong, bundle, runtime)
    with pytest.raises(WrongUsage) as raised:
        open_tail("http://someone:hidden@host:port", bundle, runtime)
    assert "hidden" not in str(raised.value)
