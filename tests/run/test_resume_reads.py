"""The parts of a run that resumes are read by several threads, and again after a refused request."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hybrid_batch.data.log.records import to_table
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.runner.totals import Totals
from tests.conftest import HANG_S
from tests.factories.hostile_parts import parquet
from tests.factories.records import random_records

PARTS, AT_ONCE = 24, 4


class PartsServer(ThreadingHTTPServer):
    """An S3 that answers only when AT_ONCE requests wait, and refuses every third of them with 429."""

    daemon_threads = True

    def __init__(self, parts: list[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.parts, self.requests, self.lock = parts, 0, threading.Lock()
        self.together = threading.Barrier(AT_ONCE)


class Answer(BaseHTTPRequestHandler):
    server: PartsServer

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.requests += 1
            turn = server.requests
        if turn <= AT_ONCE:
            server.together.wait(HANG_S)
        match = re.search(r"part-(\d+)\.parquet", self.path)
        assert match is not None
        part = server.parts[int(match[1])]
        if turn % 3 == 0:
            self.reply(429, b"<Error><Code>TooManyRequests</Code></Error>", {})
        else:
            self.reply(206, part, {"ETag": '"tag"', "Content-Range": f"bytes 0-{len(part) - 1}/{len(part)}"})

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PartsServer]:
    records = [random_records(30, list("abc"), seed) for seed in range(PARTS)]
    with PartsServer([parquet(to_table(part)) for part in records]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield server
        server.shutdown()
        thread.join()


def test_parts_are_read_together_and_again_after_a_refusal(server: PartsServer) -> None:
    totals = Totals.of_shards(RunFolder(open_storage("s3://bucket/log/run=a")), range(PARTS))
    one_by_one = Totals()
    for part in range(PARTS):
        one_by_one.add(to_table(random_records(30, list("abc"), part)))
    assert totals == one_by_one
    assert server.requests > PARTS  # some were refused
