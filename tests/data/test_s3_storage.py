"""S3 with missing buckets and permissions, interrupted connections and busy servers."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_batch.data.errors import StorageFailed, TooLarge
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.data.storage.s3_file import FOOTER_BYTES, WINDOW
from hybrid_batch.data.storage.s3_storage import S3Storage
from hybrid_batch.data.storage.storage import Storage


def failures(storage: Storage) -> Iterator[str]:
    """Return the message of each operation, a StorageFailed of one line."""
    for act in (lambda: storage.read("x"), lambda: storage.write_once("x", b""), lambda: list(storage.list_files())):
        with pytest.raises(StorageFailed) as caught:
            act()
        assert "\n" not in str(caught.value)
        yield str(caught.value)


def test_missing_bucket(aws: str) -> None:
    for message in failures(open_storage("s3://no-such-bucket/log")):
        assert "bucket 'no-such-bucket' does not exist; create it" in message


def test_invalid_bucket_name(aws: str) -> None:
    for message in failures(open_storage("s3://Not A Bucket/log")):
        assert "S3 does not allow this bucket name" in message


def test_no_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for message in failures(open_storage(f"s3://{bucket}")):
        assert "AWS credentials are missing; set AWS_ACCESS_KEY_ID" in message


def test_wrong_credentials(aws: str, rclone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", rclone)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for message in failures(open_storage("s3://bucket")):
        assert "the AWS credentials are not accepted (SignatureDoesNotMatch)" in message


def test_no_server(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for message in failures(open_storage("s3://bucket")):
        assert "S3 does not respond" in message
        assert "check the network, AWS_REGION and AWS_ENDPOINT_URL" in message


@pytest.mark.parametrize(("name", "value"), [("AWS_PROFILE", "nobody"), ("AWS_ENDPOINT_URL", "not a URL")])
def test_invalid_settings(aws: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StorageFailed, match=rf"Cannot use s3://bucket: .*{value}"):
        open_storage("s3://bucket")


def test_the_region_is_optional(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert open_storage(f"s3://{bucket}").write_once("x", b"")


def test_folder_markers_are_not_listed(bucket: str) -> None:
    import boto3

    for key in ("images/", "images/a.png"):
        boto3.client("s3").put_object(Bucket=bucket, Key=key)
    assert [entry.name for entry in open_storage(f"s3://{bucket}").list_files()] == ["images/a.png"]


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
            body = f"<Error><Code>{code}</Code><Message>server error</Message></Error>".encode()
        self.send_response(status)
        self.send_header("ETag", '"tag"')
        if code.startswith("crc32 "):
            self.send_header("x-amz-checksum-crc32", code[6:])
        if code.startswith("bytes "):
            self.send_header("Content-Range", code)
            first, last = map(int, code[6:].partition("/")[0].split("-"))
            self.send_header("Content-Length", str(last - first + 1))
        else:
            self.send_header("Content-Length", str(len(body) + 10 * (code == "cut short")))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_GET = do_PUT = do_POST = answer  # noqa: N815

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
    ("status", "code", "expected"),
    [
        (403, "AccessDenied", "access to 'bucket' is denied"),
        (403, "ExpiredToken", "the AWS credentials have expired (ExpiredToken)"),
        (301, "PermanentRedirect", "bucket 'bucket' is in another region"),
        (405, "MethodNotAllowed", "server error; check the bucket"),
    ],
)
def test_rejected_requests(script: Script, status: int, code: str, expected: str) -> None:
    script.answers = [(status, code, b"")]
    for message in failures(open_storage("s3://bucket")):
        assert expected in message
        assert code in message


def test_a_conflicting_write_is_retried(script: Script) -> None:
    script.answers = [(409, "ConditionalRequestConflict", b"")] * 2 + [(412, "PreconditionFailed", b"")]
    assert not open_storage("s3://bucket").write_once("part", b"")
    assert script.requests == 3


def test_endless_conflicts_fail(script: Script) -> None:
    script.answers = [(409, "ConditionalRequestConflict", b"")]
    with pytest.raises(StorageFailed, match="ConditionalRequestConflict"):
        open_storage("s3://bucket").write_once("part", b"")
    assert script.requests == 5


def test_a_request_to_a_busy_server_is_retried(script: Script) -> None:
    script.answers = [(503, "SlowDown", b""), (200, "", b"")]
    assert open_storage("s3://bucket").write_once("part", b"")


TEMPORARY = [(429, "TooManyRequests"), (429, ""), (400, "RequestTimeout"), (503, "SlowDown"), (500, "InternalError")]


@pytest.mark.parametrize(("status", "code"), TEMPORARY)
def test_every_request_is_retried_while_the_server_is_busy(
    script: Script, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    storage = S3Storage.open("s3://bucket")
    listing = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    for act, expected, body in (
        (lambda: storage.read("x"), b"whole", b"whole"),
        (lambda: storage.open_input_file("x").read(), b"whole", b"whole"),
        (lambda: storage.write_once("x", b""), True, b""),
        (lambda: storage.replace("x", b""), None, b""),
        (lambda: storage.remove("x"), None, b"<DeleteResult></DeleteResult>"),
        (lambda: list(storage.list_files()), [], listing),
    ):
        script.requests, script.answers = 0, [(status, code, b"")] * 2 + [(200, "", body)]
        assert act() == expected
        assert script.requests == 3


def test_a_busy_server_is_named_after_the_last_attempt(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    script.answers = [(429, "TooManyRequests", b"")]
    with pytest.raises(StorageFailed, match=r"Cannot read s3://bucket/x: .*TooManyRequests"):
        open_storage("s3://bucket").read("x")
    assert script.requests == 5


def test_a_truncated_response_is_retried(script: Script) -> None:
    script.answers = [(200, "cut short", b"half")] * 2 + [(200, "", b"whole")]
    assert open_storage("s3://bucket").read("image.png") == b"whole"
    assert script.requests == 3


def test_a_truncated_error_is_retried(script: Script) -> None:
    script.answers = [(500, "cut short", b"half"), (200, "", b"whole")]
    assert open_storage("s3://bucket").read("image.png") == b"whole"
    assert script.requests == 2


@pytest.mark.parametrize("status", [200, 500])
def test_endless_truncated_responses_fail(script: Script, status: int) -> None:
    script.answers = [(status, "cut short", b"half")]
    with pytest.raises(StorageFailed, match=r"Cannot read s3://bucket/image.png"):
        open_storage("s3://bucket").read("image.png")


def test_a_response_with_a_wrong_checksum_fails(script: Script) -> None:
    script.answers = [(200, "crc32 AAAAAA==", b"altered")]
    with pytest.raises(StorageFailed, match="Expected checksum"):
        open_storage("s3://bucket").read("image.png")


def test_the_limit_is_checked_before_the_download(script: Script) -> None:
    script.answers = [(200, "cut short", b"")]  # announces 10 bytes and sends none
    with pytest.raises(TooLarge, match="10 bytes"):
        open_storage("s3://bucket").read("big", limit=9)
    assert script.requests == 1


def test_many_objects_are_removed_and_missing_ones_ignored(bucket: str) -> None:
    storage = S3Storage.open(f"s3://{bucket}/below")
    names = [f"n/{number}" for number in range(1100)]
    for name in (*names[:3], *names[1098:], "kept"):
        storage.replace(name, b"")
    storage.remove(*names)
    assert [entry.name for entry in storage.list_files()] == ["kept"]
    storage.remove()


def test_an_object_keeps_its_metadata(bucket: str) -> None:
    storage = S3Storage.open(f"s3://{bucket}")
    storage.replace("x", b"data", {"one": "two"})
    assert storage.read_with_metadata("x") == (b"data", {"one": "two"})
    storage.replace("x", b"data")
    assert storage.read_with_metadata("x") == (b"data", {})


def test_a_failed_removal_is_reported(aws: str) -> None:
    with pytest.raises(StorageFailed, match=r"^Cannot delete s3://no-such-bucket-here/x: bucket .* does not exist"):
        S3Storage.open("s3://no-such-bucket-here").remove("x")


@pytest.fixture(params=["ministack", "rclone"])
def requests(
    request: pytest.FixtureRequest, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[S3Storage, list[str]]:
    """A bucket of either server, and the requested ranges."""
    import boto3

    if request.param == "rclone":
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("rclone"))
        boto3.client("s3").create_bucket(Bucket=bucket)
    storage, ranges = S3Storage.open(f"s3://{bucket}"), list[str]()
    storage.client.meta.events.register(
        "before-send.s3.GetObject", lambda request, **_: ranges.append(request.headers.get("Range", b"").decode())
    )
    return storage, ranges


def test_a_small_file_needs_one_request(requests: tuple[S3Storage, list[str]]) -> None:
    storage, ranges = requests
    data = os.urandom(FOOTER_BYTES)
    storage.replace("part", data)
    with storage.open_input_file("part") as file:
        assert (file.size(), file.read(10), file.tell()) == (FOOTER_BYTES, data[:10], 10)
        file.seek(5)
        assert file.read() == data[5:]
        assert file.read() == b""
    assert ranges == [f"bytes=-{FOOTER_BYTES}"]


def test_a_window_of_a_large_file_is_held(requests: tuple[S3Storage, list[str]]) -> None:
    storage, ranges = requests
    data = os.urandom(2 * WINDOW + FOOTER_BYTES)
    storage.replace("part", data)
    with storage.open_input_file("part") as file:
        pieces = [file.read(1 << 18) for _ in range(2 * WINDOW >> 18)]
        assert b"".join(pieces) == data[: 2 * WINDOW]
        assert ranges == [f"bytes=-{FOOTER_BYTES}", f"bytes=0-{WINDOW - 1}", f"bytes={WINDOW}-{2 * WINDOW - 1}"]
        file.seek(WINDOW + 5)
        assert file.read() == data[WINDOW + 5 :]  # only the bytes after the window
        assert ranges[3:] == [f"bytes={2 * WINDOW}-{2 * WINDOW + FOOTER_BYTES - 1}"]


def test_a_read_may_be_larger_than_a_window(requests: tuple[S3Storage, list[str]]) -> None:
    storage, ranges = requests
    data = os.urandom(WINDOW + 2 * FOOTER_BYTES)
    storage.replace("part", data)
    with storage.open_input_file("part") as file:
        assert file.read(WINDOW + FOOTER_BYTES) == data[: WINDOW + FOOTER_BYTES]
    assert ranges[1:] == [f"bytes=0-{WINDOW + FOOTER_BYTES - 1}"]


def test_an_empty_file(requests: tuple[S3Storage, list[str]]) -> None:
    storage, _ = requests
    storage.replace("part", b"")
    with storage.open_input_file("part") as file:
        assert (file.size(), file.read()) == (0, b"")


def test_a_large_part_is_read_by_few_requests_without_unused_columns(
    requests: tuple[S3Storage, list[str]],
) -> None:
    storage, ranges = requests
    noise = np.random.default_rng(1)
    columns = {name: noise.random(2_000_000) for name in ("a", "b", "unread", "c")}
    table, sink = pa.table(columns), pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=1_000_000, compression="none", use_dictionary=False)
    storage.replace("part", sink.getvalue().to_pybytes())
    with storage.open_input_file("part") as file:
        part = pq.ParquetFile(file)
        batches = part.iter_batches(1 << 16, columns=["a", "b", "c"], use_threads=False)
        assert pa.Table.from_batches(batches) == table.select(["a", "b", "c"])
    assert len(ranges) < 10
    downloaded = sum(end - start + 1 for start, end in (map(int, one[6:].split("-")) for one in ranges[1:]))
    assert downloaded < 56_000_000  # of 64 MB


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("replaced", r"the object was replaced while it was read; try again\."),
        ("removed", r"it was deleted during the read\."),
    ],
)
def test_a_changed_object_fails_the_read(bucket: str, change: str, reason: str) -> None:
    storage = S3Storage.open(f"s3://{bucket}")
    storage.replace("part", os.urandom(2 * FOOTER_BYTES))
    with storage.open_input_file("part") as file:
        if change == "replaced":
            storage.replace("part", os.urandom(2 * FOOTER_BYTES))
        else:
            storage.remove("part")
        with pytest.raises(StorageFailed, match=rf"^Cannot read s3://{bucket}/part: {reason}$"):
            file.read(10)


def test_expired_credentials_during_a_read_are_reported(script: Script) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [os.urandom(FOOTER_BYTES) for _ in range(3)]}), sink)
    data = sink.getvalue().to_pybytes()
    tail, size = data[-FOOTER_BYTES:], len(data)
    script.answers = [(206, f"bytes {size - FOOTER_BYTES}-{size - 1}/{size}", tail), (400, "ExpiredToken", b"")]
    with open_storage("s3://bucket").open_input_file("part") as file:
        part = pq.ParquetFile(file)
        with pytest.raises(StorageFailed, match=r"Cannot read s3://bucket/part: .* have expired \(ExpiredToken\)"):
            part.read()


def test_a_truncated_range_is_retried(script: Script) -> None:
    script.answers = [(206, "bytes 0-4/5", b"whole"[:3]), (206, "bytes 0-4/5", b"whole")]
    with open_storage("s3://bucket").open_input_file("part") as file:
        assert file.read() == b"whole"
    assert script.requests == 2


def test_a_server_without_ranges_sends_all(script: Script) -> None:
    script.answers = [(200, "", b"whole")]
    with open_storage("s3://bucket").open_input_file("part") as file:
        file.seek(1)
        assert (file.size(), file.read(2)) == (5, b"ho")
