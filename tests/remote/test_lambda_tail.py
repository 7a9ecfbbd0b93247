"""The tail in Lambda: real functions in the local AWS, and what AWS itself says on its bad days by a script."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import boto3
import numpy as np
import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.errors import OtherBundle, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.transport import Request
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.tails import open_tail
from hybrid_batch.inference.tails.aws_lambda import PAYLOAD_BYTES, LambdaExchange, _payload, lambda_tail
from hybrid_batch.inference.tails.retry_policy import Patience
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import HANG_S, ROOT, free_port
from tests.made_functions import make_function
from tests.made_runs import read_records
from tests.scripted import reply

HASTE = TailSettings(
    patience=Patience(connect_s=HANG_S, answer_s=HANG_S, attempts=3, first_pause_s=0.01, longest_pause_s=0.02)
)
KILLED = "Runtime exited with error: signal: killed"
IMAGES = ROOT / "data" / "digits" / "images" / "0"


@pytest.fixture
def frame(bundle, heads, pixels):
    return Frame(codecs.encode("int8", bundle.cut("c004").boundary, heads("c004")([pixels[:3]])))


def test_it_answers_as_the_tail_here(aws, bundle, engine, local, heads, pixels, digits):
    with open_tail(f"lambda:{make_function()}", bundle, engine) as tail:
        for cut in bundle.cuts:
            tail.check(cut.id)
            tensors = heads(cut.id)([pixels]) if cut is not bundle.whole else [pixels]
            frame = Frame(codecs.encode("fp32", cut.boundary, tensors))
            answer = tail.infer(cut.id, frame)
            assert np.array_equal(answer.scores, local.infer(cut.id, frame).scores)
            assert 0 < answer.times.server_us < answer.round_trip_us
        pictures = Frame(codecs.encode_pictures(bundle.input, [*digits, b"no picture"]))
        answer = tail.infer("c000", pictures)
        assert np.array_equal(answer.scores, local.infer("c000", pictures).scores)
        assert answer.errors[:-1] == (None,) * len(digits)
        assert answer.errors[-1]


def test_a_run_through_it_predicts_what_a_run_here_does(aws, tmp_path):
    tail = f"lambda:{make_function()}"
    for name in ("local", tail):
        log = tmp_path / ("here" if name == "local" else "there")
        assert main(["run", str(IMAGES), "--split", "c004", "--tail", name, "--log", str(log)]) == 0
    here, there = read_records(tmp_path / "here"), read_records(tmp_path / "there")
    assert [(one["image"], one["prediction"], one["confidence"]) for one in there] == [
        (one["image"], one["prediction"], one["confidence"]) for one in here
    ]
    assert {one["tail"] for one in there} == {tail}


def test_a_run_that_follows_the_link_through_it(aws, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))
    tail = f"lambda:{make_function()}"
    assert main(["run", str(IMAGES), "--codec", "fp32", "--log", str(tmp_path / "here"), "--split", "c004"]) == 0
    assert main(["run", str(IMAGES), "--codec", "fp32", "--log", str(tmp_path / "log"), "--tail", tail]) == 0
    assert "Plan: " in capsys.readouterr().err
    here, there = read_records(tmp_path / "here"), read_records(tmp_path / "log")
    assert [(one["image"], one["prediction"]) for one in there] == [(one["image"], one["prediction"]) for one in here]
    assert {one["tail"] for one in there} <= {tail, "local"}


def test_it_is_measured_and_planned_with(aws, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    tail = f"lambda:{make_function()}"
    assert main(["profile", "digits", "--tail", tail, "--batch-size", "8", "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)
    assert profile["tail"]["address"] == tail
    assert profile["tail"]["link"]["rate_bps"] > 0
    assert main(["plan", "digits", "--tail", tail, "--batch-size", "8", "--json"]) == 0
    assert any(one["cut"] == "c004" for one in json.loads(capsys.readouterr().out)["candidates"])


def test_a_function_that_is_throttled_is_asked_again(aws, bundle, frame):
    name = make_function("import time\n" + "from hybrid_batch.inference.cloud.function import handler\n"
                         "def handle(event, context):\n"
                         "    time.sleep(0.2)\n    return handler.handle(event, context)")  # fmt: skip
    boto3.client("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    patience = Patience(attempts=100_000, first_pause_s=0.05, longest_pause_s=0.2)
    with lambda_tail(f"lambda:{name}", bundle, TailSettings(4, patience)) as tail, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: tail.infer("c004", frame), range(8)))
    assert len(answers) == 8


def test_a_function_that_stays_throttled_is_busy(aws, bundle, frame):
    name = make_function()
    boto3.client("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with (
        lambda_tail(f"lambda:{name}", bundle, HASTE) as tail,
        pytest.raises(TailUnreachable, match=r"asked 3 times .*429.*it is busy, try again later"),
    ):
        tail.infer("c004", frame)


@pytest.mark.parametrize(
    ("code", "timeout_s", "words"),
    [
        ("import time\ndef handle(event, context): time.sleep(99)", 1, ("in the time it has", "--timeout")),
        ("def handle(event, context): raise KeyError('weights')", 100, ("failed", "weights", "its log in AWS")),
        ("import os\ndef handle(event, context): os._exit(1)", 100, ("failed", "its log in AWS")),
        ("import not_packed", 100, ("failed", "not_packed")),
    ],
)
def test_a_function_that_gives_no_answer_is_told_once(aws, bundle, frame, code, timeout_s, words):
    name = make_function(code, timeout_s=timeout_s)
    with lambda_tail(f"lambda:{name}", bundle, HASTE) as tail, pytest.raises(TailUnreachable) as raised:
        tail.infer("c004", frame)
    assert all(word in str(raised.value) for word in (f"lambda:{name}", *words)), raised.value


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("'<html>Service unavailable</html>'", "no reply of a tail"),
        ("None", "no reply of a tail"),
        ("{'statusCode': 'x', 'headers': {}, 'body': ''}", "no reply of a tail"),
        ("{'statusCode': float('inf'), 'headers': {}, 'body': ''}", "no reply of a tail"),
        ("{'statusCode': 200, 'isBase64Encoded': True, 'body': '###'}", "no reply of a tail"),
        ("{'statusCode': 200, 'headers': {}, 'body': '<p>hello'}", "which bundle"),
        ("{'statusCode': 403, 'headers': {}, 'body': '{\"message\": \"Forbidden\"}'}", "403 Forbidden"),
    ],
)
def test_a_function_that_is_no_tail_is_told(aws, bundle, result, words):
    name = make_function(f"def handle(event, context): return {result}")
    with lambda_tail(f"lambda:{name}", bundle, HASTE) as tail, pytest.raises(TailRefused, match=words):
        tail.check("c004")


def test_an_answer_that_is_too_long_is_not_read(aws, bundle, frame):
    name = make_function("def handle(event, context): return {'statusCode': 200, 'headers': {}, 'body': 'x' * 4000000}")
    with lambda_tail(f"lambda:{name}", bundle, HASTE) as tail, pytest.raises(Exception, match="were due"):
        tail.infer("c004", frame)


def test_another_bundle_is_told(aws, bundle, frame):
    name = make_function()
    with lambda_tail(f"lambda:{name}", replace(bundle, sha256="0" * 64), HASTE) as tail:
        with pytest.raises(OtherBundle, match="000000000000"):
            tail.check("c004")
        with pytest.raises(OtherBundle, match="refused"):
            tail.infer("c004", frame)


def test_a_missing_function_is_told(aws, bundle):
    with (
        lambda_tail("lambda:not-deployed", bundle, HASTE) as tail,
        pytest.raises(TailRefused, match=r"Lambda in us-east-1 .*not-deployed.*AWS_REGION"),
    ):
        tail.check("c004")


def says(status: int, kind: str, message: str) -> bytes:
    """As the service itself answers."""
    content = json.dumps({"Type": "User", "Message": message}).encode()
    return reply(status, content, f"Content-Type: application/json\r\nx-amzn-ErrorType: {kind}\r\n")


AWS_SAYS = [
    ((400, "ExpiredTokenException", "The security token included in the request is expired"), "have expired"),
    ((403, "UnrecognizedClientException", "The security token is invalid."), "does not accept the AWS credentials"),
    ((403, "AccessDeniedException", "User: x is not authorized to perform: lambda:InvokeFunction"), "not authorized"),
    ((413, "RequestTooLargeException", "Request must be smaller than 6291456 bytes"), "must be smaller"),
]


@pytest.mark.parametrize(("answer", "words"), AWS_SAYS)
def test_what_aws_refuses_is_told_in_a_sentence_and_not_asked_again(
    aws, script, bundle, monkeypatch, frame, answer, words
):
    server = script(says(*answer))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    with lambda_tail("lambda:x", bundle, HASTE) as tail, pytest.raises(TailRefused, match=words):
        tail.infer("c004", frame)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (500, "ServiceException", "oops"),
        (502, "EC2ThrottledException", "later"),
        (409, "ResourceConflictException", "Pending"),
    ],
)
def test_what_passes_is_asked_again(aws, script, bundle, monkeypatch, frame, answer):
    server = script(says(*answer))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    with lambda_tail("lambda:x", bundle, HASTE) as tail, pytest.raises(TailUnreachable, match="asked 3 times"):
        tail.infer("c004", frame)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: 1 Error: {KILLED}"}, "--memory"),
        ({"errorType": "Runtime.OutOfMemory", "errorMessage": ""}, "--memory"),
        ({"errorMessage": "2026-01-01T00:00:00Z 1 Task timed out after 3.00 seconds"}, "--timeout"),
        (["strange"], "failed"),
    ],
)
def test_what_lambda_says_of_a_function_that_died(aws, script, bundle, monkeypatch, frame, told, words):
    server = script(reply(200, json.dumps(told).encode(), "X-Amz-Function-Error: Unhandled\r\n"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    with lambda_tail("lambda:x", bundle, HASTE) as tail, pytest.raises(TailUnreachable, match=words):
        tail.infer("c004", frame)
    assert len(server.asked) == 1


def test_nobody_there(aws, bundle, monkeypatch, frame):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with lambda_tail("lambda:x", bundle, HASTE) as tail, pytest.raises(TailUnreachable, match="region"):
        tail.infer("c004", frame)


def test_settings_that_make_no_client_are_told(aws, bundle, monkeypatch, frame):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "no where")
    with pytest.raises(TailRefused, match=r"no where.*AWS_REGION"):
        lambda_tail("lambda:x", bundle, HASTE)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(TailRefused, match=r"region.*AWS_REGION"):
        lambda_tail("lambda:x", bundle, HASTE)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with lambda_tail("lambda:x", bundle, HASTE) as tail, pytest.raises(TailRefused, match="no AWS credentials"):
        tail.infer("c004", frame)


@pytest.mark.parametrize("name", ["", "a b", "x:y:z", "arn:aws:s3:::bucket", "x" * 65, "../x"])
def test_addresses_that_name_no_function(bundle, engine, name):
    with pytest.raises(WrongUsage, match="lambda:NAME"):
        open_tail(f"lambda:{name}", bundle, engine)


def test_the_region_of_an_arn_is_asked(aws):
    exchange = LambdaExchange("lambda:arn:aws:lambda:eu-west-3:123456789012:function:tail:live")
    assert exchange._api.region == "eu-west-3"
    exchange.close()


@pytest.mark.parametrize("path", ["/v2", "/v2/models/digits/versions/c004/infer"])
def test_the_room_is_what_fits_to_the_byte(aws, path):
    """Base64 makes 4 bytes of 3, so the largest payload is short of the limit by up to 3."""
    exchange, request = LambdaExchange("lambda:x"), Request("POST", path, {"A": "b"})
    room = exchange.room(request)
    for size, fits in ((room - 1, True), (room, True), (room + 1, False)):
        assert (len(_payload(request, os.urandom(size))) <= PAYLOAD_BYTES) is fits
    exchange.close()
