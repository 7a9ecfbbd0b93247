"""S3 as networks and accounts really are: absent, closed, interrupted, busy."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data.errors import StorageFailed, TooLarge
from data.s3_storage import S3Storage
from data.storage import Storage, open_storage


def failures(storage: Storage) -> Iterator[str]:
    """What each verb says; it must be StorageFailed and one line."""
    for act in (lambda: storage.read("x"), lambda: storage.write_once("x", b""), lambda: list(storage.entries())):
        with pytest.raises(StorageFailed) as caught:
            act()
        assert "\n" not in str(caught.value)
        yield str(caught.value)


def test_missing_bucket(aws: str) -> None:
    for message in failures(open_storage("s3://no-such-bucket/log")):
        assert "there is no bucket 'no-such-bucket'; create it" in message


def test_impossible_bucket_name(aws: str) -> None:
    for message in failures(open_storage("s3://Not A Bucket/log")):
        assert "no bucket name S3 allows" in message


def test_no_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for message in failures(open_storage(f"s3://{bucket}")):
        assert "there are no AWS credentials; set AWS_ACCESS_KEY_ID" in message


def test_wrong_credentials(aws: str, rclone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", rclone)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for message in failures(open_storage("s3://bucket")):
        assert "the AWS credentials are not accepted (SignatureDoesNotMatch)" in message


def test_nobody_answers(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for message in failures(open_storage("s3://bucket")):
        assert "S3 does not answer" in message
        assert "check the network and AWS_ENDPOINT_URL" in message


@pytest.mark.parametrize(("name", "value"), [("AWS_PROFILE", "nobody"), ("AWS_ENDPOINT_URL", "not a URL")])
def test_settings_that_make_no_client(aws: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StorageFailed, match=rf"Cannot use s3://bucket: .*{value}"):
        open_storage("s3://bucket")


def test_region_is_not_needed(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert open_storage(f"s3://{bucket}").write_once("x", b"")


def test_folder_markers_are_no_files(bucket: str) -> None:
    import boto3

    for key in ("images/", "images/a.png"):
        boto3.client("s3").put_object(Bucket=bucket, Key=key)
    assert [entry.name for entry in open_storage(f"s3://{bucket}").entries()] == ["images/a.png"]


class Script(ThreadingHTTPServer):
    """Answers each request with the next (status, S3 error code, body) and counts them."""

    daemon_threads = True
    requests = 0

    def __init__(self, answers: list[tuple[int, str, bytes]]) -> None:
        self.answers = answers
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    server: Script

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, code, body = self.server.answers[min(self.server.requests, len(self.server.answers) - 1)]
        self.server.requests += 1
        if code and status >= 300:
            body = f"<Error><Code>{code}</Code><Message>said the server</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + 10 * (code == "cut short")))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_GET = do_PUT = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def script(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with Script([]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "AccessDenied", "access to 'bucket' is denied"),
        (403, "ExpiredToken", "the AWS credentials are not accepted"),
        (301, "PermanentRedirect", "bucket 'bucket' is in another region"),
        (405, "MethodNotAllowed", "said the server; check the bucket"),
    ],
)
def test_refusals(script: Script, status: int, code: str, said: str) -> None:
    script.answers = [(status, code, b"")]
    for message in failures(open_storage("s3://bucket")):
        assert said in message
        assert code in message


def test_conflicting_write_is_tried_again_until_it_is_decided(script: Script) -> None:
    script.answers = [(409, "ConditionalRequestConflict", b"")] * 2 + [(412, "PreconditionFailed", b"")]
    assert not open_storage("s3://bucket").write_once("part", b"")
    assert script.requests == 3


def test_endless_conflict_is_a_failure(script: Script) -> None:
    script.answers = [(409, "ConditionalRequestConflict", b"")]
    with pytest.raises(StorageFailed, match="ConditionalRequestConflict"):
        open_storage("s3://bucket").write_once("part", b"")
    assert script.requests == 5


def test_busy_server_is_asked_again(script: Script) -> None:
    script.answers = [(503, "SlowDown", b""), (200, "", b"")]
    assert open_storage("s3://bucket").write_once("part", b"")


def test_answer_cut_short_is_asked_for_again(script: Script) -> None:
    script.answers = [(200, "cut short", b"half")] * 2 + [(200, "", b"whole")]
    assert open_storage("s3://bucket").read("image.png") == b"whole"
    assert script.requests == 3


def test_answers_always_cut_short_are_a_failure(script: Script) -> None:
    script.answers = [(200, "cut short", b"half")]
    with pytest.raises(StorageFailed, match=r"Cannot read s3://bucket/image.png"):
        open_storage("s3://bucket").read("image.png")


def test_limit_is_checked_before_the_bytes_come(script: Script) -> None:
    script.answers = [(200, "cut short", b"")]  # announces 10 bytes and sends none
    with pytest.raises(TooLarge, match="10 bytes"):
        open_storage("s3://bucket").read("big", limit=9)
    assert script.requests == 1


def test_objects_are_removed_many_at_once_and_those_that_are_not_there_passed_over(bucket: str) -> None:
    storage = S3Storage.open(f"s3://{bucket}/below")
    names = [f"n/{number}" for number in range(1100)]
    for name in (*names[:3], *names[1098:], "kept"):
        storage.replace(name, b"")
    storage.remove(*names)
    assert [entry.name for entry in storage.entries()] == ["kept"]
    storage.remove()


def test_metadata_travels_with_an_object(bucket: str) -> None:
    storage = S3Storage.open(f"s3://{bucket}")
    storage.replace("x", b"data", {"one": "two"})
    assert storage.read_described("x") == (b"data", {"one": "two"})
    storage.replace("x", b"data")
    assert storage.read_described("x") == (b"data", {})


def test_what_cannot_be_removed_is_told(aws: str) -> None:
    with pytest.raises(StorageFailed, match="Cannot delete s3://no-such-bucket-here/x: there is no bucket"):
        S3Storage.open("s3://no-such-bucket-here").remove("x")
