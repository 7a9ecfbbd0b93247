"""The tail in Lambda: real functions in the local AWS, and a scripted server for errors of AWS itself."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import boto3
import numpy as np
import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.errors import BundleMismatch, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.transport import Request
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.tails import open_tail
from hybrid_batch.inference.tails.aws_lambda import PAYLOAD_BYTES, LambdaTransport, invocation_payload, open_lambda_tail
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings
from tests.conftest import HANG_S, ROOT, free_port
from tests.factories.functions import make_function
from tests.run_logs import read_records
from tests.scripted_server import reply

FAST = TailSettings(
    retries=RetryPolicy(
        connect_timeout_s=HANG_S, response_timeout_s=HANG_S, attempts=3, first_pause_s=0.01, max_pause_s=0.02
    )
)
KILLED = "Runtime exited with error: signal: killed"
IMAGES = ROOT / "data" / "digits" / "images" / "0"


@pytest.fixture
def frame(bundle, heads, pixels):
    return Frame(wire_tensors.encode("int8", bundle.cut("c004").boundary, heads("c004")([pixels[:3]])))


def test_it_computes_the_scores_of_the_local_tail(aws, bundle, runtime, local, heads, pixels, digits):
    with open_tail(f"lambda:{make_function()}", bundle, runtime) as tail:
        for cut in bundle.cuts:
            tail.check(cut.id)
            tensors = heads(cut.id)([pixels]) if cut is not bundle.input_cut else [pixels]
            frame = Frame(wire_tensors.encode("fp32", cut.boundary, tensors))
            answer = tail.infer(cut.id, frame)
            assert np.array_equal(answer.scores, local.infer(cut.id, frame).scores)
            assert 0 < answer.timings.server_us < answer.round_trip_us
        images = Frame(wire_tensors.encode_images(bundle.input, [*digits, b"no image"]))
        answer = tail.infer("c000", images)
        assert np.array_equal(answer.scores, local.infer("c000", images).scores)
        assert answer.errors[:-1] == (None,) * len(digits)
        assert answer.errors[-1]


def test_a_run_predicts_what_a_local_run_predicts(aws, tmp_path):
    tail = f"lambda:{make_function()}"
    for name in ("local", tail):
        log = tmp_path / ("local" if name == "local" else "remote")
        assert main(["run", str(IMAGES), "--split", "c004", "--tail", name, "--log", str(log)]) == 0
    local, remote = read_records(tmp_path / "local"), read_records(tmp_path / "remote")
    assert [(one["image"], one["prediction"], one["confidence"]) for one in remote] == [
        (one["image"], one["prediction"], one["confidence"]) for one in local
    ]
    assert {one["tail"] for one in remote} == {tail}


def test_an_adaptive_run(aws, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))
    tail = f"lambda:{make_function()}"
    assert main(["run", str(IMAGES), "--codec", "fp32", "--log", str(tmp_path / "local"), "--split", "c004"]) == 0
    assert main(["run", str(IMAGES), "--codec", "fp32", "--log", str(tmp_path / "log"), "--tail", tail]) == 0
    assert "Plan: " in capsys.readouterr().err
    local, remote = read_records(tmp_path / "local"), read_records(tmp_path / "log")
    assert [(one["image"], one["prediction"]) for one in remote] == [(one["image"], one["prediction"]) for one in local]
    assert {one["tail"] for one in remote} <= {tail, "local"}


def test_it_is_profiled_and_planned(aws, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    tail = f"lambda:{make_function()}"
    assert main(["profile", "digits", "--tail", tail, "--batch-size", "8", "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)
    assert profile["tail"]["address"] == tail
    assert profile["tail"]["link"]["rate_bps"] > 0
    assert main(["plan", "digits", "--tail", tail, "--batch-size", "8", "--json"]) == 0
    assert any(one["cut"] == "c004" for one in json.loads(capsys.readouterr().out)["candidates"])


def test_a_throttled_function_is_retried(aws, bundle, frame):
    name = make_function("import time\n" + "from hybrid_batch.inference.cloud.function import handler\n"
                         "def handle(event, context):\n"
                         "    time.sleep(0.2)\n    return handler.handle(event, context)")  # fmt: skip
    boto3.client("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    retries = RetryPolicy(attempts=100_000, first_pause_s=0.05, max_pause_s=0.2)
    with open_lambda_tail(f"lambda:{name}", bundle, TailSettings(4, retries)) as tail, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: tail.infer("c004", frame), range(8)))
    assert len(answers) == 8


def test_a_function_that_stays_throttled_is_overloaded(aws, bundle, frame):
    name = make_function()
    boto3.client("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with (
        open_lambda_tail(f"lambda:{name}", bundle, FAST) as tail,
        pytest.raises(TailUnreachable, match=r"in 3 attempts .*429.*it is overloaded, try again later"),
    ):
        tail.infer("c004", frame)


@pytest.mark.parametrize(
    ("code", "timeout_s", "words"),
    [
        ("import time\ndef handle(event, context): time.sleep(99)", 1, ("within its timeout", "--function-timeout")),
        ("def handle(event, context): raise KeyError('weights')", 100, ("failed", "weights", "its log in AWS")),
        ("import os\ndef handle(event, context): os._exit(1)", 100, ("failed", "its log in AWS")),
        ("import not_packed", 100, ("failed", "not_packed")),
    ],
)
def test_a_function_that_fails_is_one_sentence(aws, bundle, frame, code, timeout_s, words):
    name = make_function(code, timeout_s=timeout_s)
    with open_lambda_tail(f"lambda:{name}", bundle, FAST) as tail, pytest.raises(TailUnreachable) as raised:
        tail.infer("c004", frame)
    assert all(word in str(raised.value) for word in (f"lambda:{name}", *words)), raised.value


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("'<html>Service unavailable</html>'", "not the reply of a tail"),
        ("None", "not the reply of a tail"),
        ("{'statusCode': 'x', 'headers': {}, 'body': ''}", "not the reply of a tail"),
        ("{'statusCode': float('inf'), 'headers': {}, 'body': ''}", "not the reply of a tail"),
        ("{'statusCode': 200, 'isBase64Encoded': True, 'body': '###'}", "not the reply of a tail"),
        ("{'statusCode': 200, 'headers': {}, 'body': '<p>hello'}", "which bundle"),
        ("{'statusCode': 403, 'headers': {}, 'body': '{\"message\": \"Forbidden\"}'}", "403 Forbidden"),
    ],
)
def test_a_function_that_is_not_a_tail_is_rejected(aws, bundle, result, words):
    name = make_function(f"def handle(event, context): return {result}")
    with open_lambda_tail(f"lambda:{name}", bundle, FAST) as tail, pytest.raises(TailRefused, match=words):
        tail.check("c004")


def test_a_result_that_is_too_long_is_not_read(aws, bundle, frame):
    name = make_function("def handle(event, context): return {'statusCode': 200, 'headers': {}, 'body': 'x' * 4000000}")
    with open_lambda_tail(f"lambda:{name}", bundle, FAST) as tail, pytest.raises(Exception, match="bytes expected"):
        tail.infer("c004", frame)


def test_another_bundle_is_a_mismatch(aws, bundle, frame):
    name = make_function()
    with open_lambda_tail(f"lambda:{name}", replace(bundle, sha256="0" * 64), FAST) as tail:
        with pytest.raises(BundleMismatch, match="000000000000"):
            tail.check("c004")
        with pytest.raises(BundleMismatch, match="refused"):
            tail.infer("c004", frame)


def test_a_missing_function_is_one_sentence(aws, bundle):
    with (
        open_lambda_tail("lambda:not-deployed", bundle, FAST) as tail,
        pytest.raises(TailRefused, match=r"Lambda in us-east-1 .*not-deployed.*AWS_REGION"),
    ):
        tail.check("c004")


def aws_error(status: int, kind: str, message: str) -> bytes:
    """The bytes of an error response of AWS."""
    content = json.dumps({"Type": "User", "Message": message}).encode()
    return reply(status, content, f"Content-Type: application/json\r\nx-amzn-ErrorType: {kind}\r\n")


AWS_ERRORS = [
    ((400, "ExpiredTokenException", "The security token included in the request is expired"), "have expired"),
    ((403, "UnrecognizedClientException", "The security token is invalid."), "does not accept the AWS credentials"),
    ((403, "AccessDeniedException", "User: x is not authorized to perform: lambda:InvokeFunction"), "not authorized"),
    ((413, "RequestTooLargeException", "Request must be smaller than 6291456 bytes"), "must be smaller"),
]


@pytest.mark.parametrize(("error", "words"), AWS_ERRORS)
def test_refusals_of_aws_are_one_sentence_and_not_retried(
    aws, scripted_server, bundle, monkeypatch, frame, error, words
):
    server = scripted_server(aws_error(*error))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    with open_lambda_tail("lambda:x", bundle, FAST) as tail, pytest.raises(TailRefused, match=words):
        tail.infer("c004", frame)
    assert len(server.paths) == 1


@pytest.mark.parametrize(
    "error",
    [
        (500, "ServiceException", "oops"),
        (502, "EC2ThrottledException", "later"),
        (409, "ResourceConflictException", "Pending"),
    ],
)
def test_transient_errors_are_retried(aws, scripted_server, bundle, monkeypatch, frame, error):
    server = scripted_server(aws_error(*error))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    with open_lambda_tail("lambda:x", bundle, FAST) as tail, pytest.raises(TailUnreachable, match="in 3 attempts"):
        tail.infer("c004", frame)
    assert len(server.paths) == 3


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: 1 Error: {KILLED}"}, "--memory"),
        ({"errorType": "Runtime.OutOfMemory", "errorMessage": ""}, "--memory"),
        ({"errorMessage": "2026-01-01T00:00:00Z 1 Task timed out after 3.00 seconds"}, "--function-timeout"),
        (["strange"], "failed"),
        ({"errorMessage": "a word " * 60}, "a word a …"),  # cut at a word
    ],
)
def test_errors_that_lambda_reports_of_a_killed_function(
    aws, scripted_server, bundle, monkeypatch, frame, result, words
):
    server = scripted_server(reply(200, json.dumps(result).encode(), "X-Amz-Function-Error: Unhandled\r\n"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    with open_lambda_tail("lambda:x", bundle, FAST) as tail, pytest.raises(TailUnreachable, match=words):
        tail.infer("c004", frame)
    assert len(server.paths) == 1


def test_an_unreachable_tail_is_one_sentence(aws, bundle, monkeypatch, frame):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with open_lambda_tail("lambda:x", bundle, FAST) as tail, pytest.raises(TailUnreachable, match="region"):
        tail.infer("c004", frame)


def test_unusable_aws_settings_are_one_sentence(aws, bundle, monkeypatch, frame):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "no where")
    with pytest.raises(TailRefused, match=r"no where.*AWS_REGION"):
        open_lambda_tail("lambda:x", bundle, FAST)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(TailRefused, match=r"region.*AWS_REGION"):
        open_lambda_tail("lambda:x", bundle, FAST)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with (
        open_lambda_tail("lambda:x", bundle, FAST) as tail,
        pytest.raises(TailRefused, match="AWS credentials are missing"),
    ):
        tail.infer("c004", frame)


@pytest.mark.parametrize("name", ["", "a b", "x:y:z", "arn:aws:s3:::bucket", "x" * 65, "../x"])
def test_addresses_without_a_function_are_wrong_usage(bundle, runtime, name):
    with pytest.raises(WrongUsage, match="lambda:NAME"):
        open_tail(f"lambda:{name}", bundle, runtime)


def test_the_region_of_an_arn_is_used(aws):
    transport = LambdaTransport("lambda:arn:aws:lambda:eu-west-3:123456789012:function:tail:live")
    assert transport._api.region == "eu-west-3"
    transport.close()


@pytest.mark.parametrize("path", ["/v2", "/v2/models/digits/versions/c004/infer"])
def test_the_largest_content_fits_to_the_byte(aws, path):
    """Base64 encodes 3 bytes as 4, so the largest payload is up to 3 bytes below the limit."""
    transport, request = LambdaTransport("lambda:x"), Request("POST", path, {"A": "b"})
    largest = transport.max_content_bytes(request)
    for size, fits in ((largest - 1, True), (largest, True), (largest + 1, False)):
        assert (len(invocation_payload(replace(request, content=os.urandom(size)))) <= PAYLOAD_BYTES) is fits
    transport.close()
