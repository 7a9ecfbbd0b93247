"""Expired credentials: a scripted server replies with the message of each service, because the local AWS has none."""

from collections.abc import Callable

import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.aws.queue import SqsQueue
from hybrid_batch.data.errors import AwsRefused, HybridBatchError, StorageFailed, TailRefused
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.cloud.stack.api import open_aws
from hybrid_batch.inference.protocol.transport import Request
from hybrid_batch.inference.tails.aws_lambda import LambdaTransport
from hybrid_batch.inference.tails.sqs.transport import SqsTransport
from tests.conftest import ROOT
from tests.scripted_server import ScriptedServer, reply

SAID = "The security token included in the request is expired"
XML, JSON = "Content-Type: text/xml\r\n", "Content-Type: application/x-amz-json-1.0\r\n"
HELLO = Request("GET", "/v2")
ANSWERS = {
    "s3": reply(
        400, b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>", XML
    ),
    "sqs": reply(
        403,
        f'{{"__type": "com.amazon.coral.service#ExpiredTokenException", "message": "{SAID}"}}'.encode(),
        JSON + "x-amzn-query-error: ExpiredToken;Sender\r\n",
    ),
    "lambda": reply(
        403, f'{{"message": "{SAID}"}}'.encode(), JSON + "x-amzn-ErrorType: ExpiredTokenException\r\n"
    ),
    "cloudformation": reply(
        403,
        f"<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>{SAID}</Message></Error>"
        "</ErrorResponse>".encode(),
        XML,
    ),
}  # fmt: skip
USES: dict[str, tuple[str, Callable[[], object], type[HybridBatchError]]] = {
    "an object": ("s3", lambda: open_storage("s3://bucket/logs").read("name"), StorageFailed),
    "a bucket": ("s3", lambda: open_aws().call("s3", "get_bucket_tagging", Bucket="bucket"), AwsRefused),
    "a queue": ("sqs", lambda: SqsQueue.open("work"), AwsRefused),
    "the tail behind a queue": ("sqs", lambda: SqsTransport("sqs:work").send(HELLO, 100), TailRefused),
    "a function": ("lambda", lambda: LambdaTransport("lambda:tail").send(HELLO, 100), TailRefused),
    "a stack": ("cloudformation", lambda: open_aws().call("cloudformation", "describe_stacks"), AwsRefused),
}


@pytest.fixture
def expired(aws: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ScriptedServer]:
    def expire(service: str) -> ScriptedServer:
        script = ScriptedServer(ANSWERS[service])
        monkeypatch.setenv("AWS_ENDPOINT_URL", script.url)
        return script

    return expire


@pytest.mark.parametrize("use", USES)
def test_expired_credentials_are_reported_without_retries(expired, use):
    service, use_service, kind = USES[use]
    script = expired(service)
    with pytest.raises(kind, match=r"AWS credentials have expired \(.*ExpiredToken.*\); renew .*them\.$"):
        use_service()
    assert len(script.requests) == 1, "nothing changes by asking again"


@pytest.mark.parametrize(
    ("service", "arguments"),
    [
        (
            "sqs",
            [
                "run",
                str(ROOT / "data/digits/images"),
                "--split",
                "c005",
                "--tail",
                "sqs:work",
                "--log",
                "LOG",
                "--model",
                "digits",
            ],
        ),
        (
            "lambda",
            [
                "run",
                str(ROOT / "data/digits/images"),
                "--split",
                "c005",
                "--tail",
                "lambda:f",
                "--log",
                "LOG",
                "--model",
                "digits",
            ],
        ),
        ("sqs", ["worker", "digits", "--queue", "work"]),
        ("cloudformation", ["cloud", "status"]),
        ("s3", ["evaluate", "s3://bucket/logs/run=1"]),
    ],
)
def test_a_command_fails_with_one_sentence(expired, capsys, tmp_path, service, arguments):
    expired(service)
    assert main([str(tmp_path) if word == "LOG" else word for word in arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hybrid-batch: ")
    assert "AWS credentials have expired" in line
