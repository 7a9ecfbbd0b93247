"""Users by the dozen against real servers: how they behave when turned away, and what is counted."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from hybrid_batch.data.errors import TailUnreachable
from hybrid_batch.inference.benchmark.child import Child
from hybrid_batch.inference.benchmark.clients import Tally
from hybrid_batch.inference.benchmark.crowd import Crowd, Load, started_crowd
from hybrid_batch.inference.benchmark.head import Head
from hybrid_batch.inference.benchmark.server import started_server
from hybrid_batch.inference.benchmark.usage import Usage
from hybrid_batch.inference.benchmark.way import Way
from hybrid_batch.inference.model.cuts import WHOLE
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.tails.local import LocalTail
from tests.conftest import HANG_S, ROOT, free_port
from tests.scripted import Script, error, reply

FILES = [path.read_bytes() for path in sorted((ROOT / "data/digits/images").rglob("*.png"))[::60]]


@pytest.fixture(scope="module")
def crowd():
    with started_crowd() as crowd:
        yield crowd


@pytest.fixture(scope="module")
def load():
    bundle = open_model("digits")
    way = Way(bundle.cut("c005"), "fp16")
    head = Head(bundle, open_engine("openvino", bundle), way)
    return Load(bundle, way, [head.prepare(file) for file in FILES])


@pytest.fixture
def script():
    started = []

    def start(*behaviours):
        started.append(Script(*behaviours))
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def test_users_get_what_they_want_and_every_byte_is_counted(crowd, load):
    with started_server(load.bundle) as server, Usage(server.process) as usage:
        tally = crowd.use(server.url, load, users=5, least=6)
    assert len(tally.latencies_us) == 30
    assert (tally.errors, tally.refused, tally.waited_us) == ({}, 0, 0)
    assert min(tally.latencies_us) > 0
    bodies = [one.body(load.bundle).size for one in load.prepared]
    assert 30 * min(bodies) < tally.sent_bytes < 30 * (max(bodies) + 400)
    assert 30 * 40 < tally.received_bytes < 30 * 1000
    assert usage.cpu_s > 0
    assert 20 << 20 < usage.peak_bytes < 4 << 30


def test_pictures_of_every_size_are_understood(crowd, tmp_path):
    """The length of a frame's header is not the same for all."""
    bundle = open_model("digits")
    way = Way(bundle.whole, "image")
    head = Head(bundle, open_engine("openvino", bundle), way)
    large = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(large, "PNG")
    load = Load(bundle, way, [head.prepare(file) for file in (FILES[0], large.getvalue())])
    assert len({one.body(bundle).header_bytes for one in load.prepared}) == 2
    with started_server(bundle) as server:
        tally = crowd.use(server.url, load, users=2, least=2)
    assert (len(tally.latencies_us), tally.errors) == (4, {})


def test_more_users_than_are_let_in_wait_as_told_and_all_get_their_answers(crowd, load):
    with started_server(load.bundle, queue=2) as server:
        crowd.use(server.url, load, users=1)
        storm = crowd.use(server.url, load, users=24, least=3)
        calm = crowd.use(server.url, load, users=2, least=10)
    assert (len(storm.latencies_us), storm.errors) == (72, {})
    assert storm.refused > 0
    assert storm.waited_us >= 1_000_000 * storm.refused, "each waits the second the server asks for"
    assert max(storm.latencies_us) > 1_000_000, "the time until an answer has the waiting in it"
    assert (len(calm.latencies_us), calm.refused, calm.errors) == (20, 0, {}), "afterwards nobody is turned away"


def test_a_user_who_is_turned_away_asks_again_on_the_same_connection(crowd, load, script):
    later = error(429, "busy", "Retry-After: 1\r\n")
    server = script(later, error(503, "closing"), reply(200, b"x"))
    tally = crowd.use(server.url, load, users=1, least=2)
    assert (len(tally.latencies_us), tally.refused, tally.errors) == (2, 2, {})
    assert len(server.asked) == 4
    assert tally.waited_us >= 1_100_000
    assert server.requests[0].body == server.requests[2].body, "the same request"
    assert server.requests[3].body != server.requests[2].body, "then the next"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (error(500, "no room"), 'status 500 {"error": "no room"}'),
        (None, "0 bytes read"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncut off", "7 bytes read"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "a reply of 99999999 bytes"),
        (b"HTTP/1.1 what\r\nContent-Length: 0\r\n\r\n", "invalid literal"),
    ],
)
def test_what_goes_wrong_is_counted_by_its_kind_and_the_user_goes_on(crowd, load, script, answer, cause):
    server = script(answer, reply(200, b"fine"))
    tally = crowd.use(server.url, load, users=1, least=3)
    ((told, count),) = tally.errors.items()
    assert cause in told
    assert (count, len(tally.latencies_us)) == (1, 2)


def test_of_very_many_kinds_of_errors_only_some_are_kept():
    tally = Tally()
    for number in range(99):
        tally.fail(str(number % 33))
    assert len(tally.errors) == 11
    assert tally.errors["others"] == 99 - 3 * 10


def test_a_server_that_is_not_there_is_an_error_for_each_request(crowd, load):
    tally = crowd.use(f"http://127.0.0.1:{free_port()}", load, users=3, least=2)
    assert sum(tally.errors.values()) == 3 * 2
    assert tally.latencies_us == []


def test_users_send_what_the_server_understands(load):
    """The frame that is made beforehand gives what the tail gives here."""
    import httpx

    bundle = load.bundle
    tail = LocalTail(bundle, open_engine("openvino", bundle))
    with started_server(bundle) as server:
        body = load.prepared[0].body(bundle)
        address = f"{server.url}/v2/models/digits/versions/c005/infer"
        answer = httpx.post(address, content=body.join(), headers=body.headers, trust_env=False, timeout=HANG_S)
    assert answer.status_code == 200
    outputs = json.loads(answer.content[: int(answer.headers["Inference-Header-Content-Length"])])["outputs"]
    scores = answer.content[-outputs[0]["parameters"]["binary_data_size"] :]
    assert scores == tail.infer("c005", load.prepared[0].frame).scores.tobytes()


def test_uploads_are_the_files_themselves():
    bundle = open_model("digits")
    head = Head(bundle, open_engine("openvino", bundle), Way(bundle.cut(WHOLE), "image"))
    assert bytes(head.prepare(FILES[0]).frame.tensors[0].data).endswith(FILES[0])


def test_a_child_that_ends_is_told_with_its_last_words(tmp_path):
    words = pytest.raises(TailUnreachable, match=r"server_process.*ended with 1 .*NotABundle.*nowhere")
    with Child("hybrid_batch.inference.benchmark.server_process", "/nowhere", "3", str(tmp_path)) as child, words:
        child.hear()
    with Child("hybrid_batch.inference.benchmark.clients") as child:
        crowd = Crowd(child)
        child.process.kill()
        child.process.wait()
        bundle = open_model("digits")
        way = Way(bundle.cut(WHOLE), "image")
        head = Head(bundle, open_engine("openvino", bundle), way)
        with pytest.raises(TailUnreachable, match="clients"):
            crowd.use("http://127.0.0.1:1", Load(bundle, way, [head.prepare(FILES[0])]), 1)


_STARTS = """
import time
from hybrid_batch.inference.benchmark.server import started_server
from hybrid_batch.inference.model.importing.resolve_model import open_model
with started_server(open_model("digits")) as server:
    print(server.url, flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_cache_of_a_server_goes_with_whoever_started_it(tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-c", _STARTS],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.readline()
    assert list(tmp_path.iterdir())
    process.send_signal(number)
    process.communicate()
    end = time.monotonic() + HANG_S
    while list(tmp_path.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.05)
