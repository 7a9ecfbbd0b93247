"""Concurrent users against real servers: refusals, errors and counts."""

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
from hybrid_batch.inference.benchmark.head_encoder import HeadEncoder
from hybrid_batch.inference.benchmark.load.client import LoadResult
from hybrid_batch.inference.benchmark.load.driver import LoadDriver, Workload, start_load_driver
from hybrid_batch.inference.benchmark.load.line_process import LineProcess
from hybrid_batch.inference.benchmark.load.server import start_server
from hybrid_batch.inference.benchmark.load.usage import ProcessUsage
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.runner.split import CutSplit, UploadSplit
from hybrid_batch.inference.tails.local import LocalTail
from tests.conftest import HANG_S, ROOT, free_port
from tests.scripted_server import ScriptedServer, error, reply

pytestmark = pytest.mark.slow

FILES = [path.read_bytes() for path in sorted((ROOT / "data/digits/images").rglob("*.png"))[::60]]


@pytest.fixture(scope="module")
def driver():
    with start_load_driver() as driver:
        yield driver


@pytest.fixture(scope="module")
def workload():
    bundle = resolve_model("digits")
    split = CutSplit(bundle.cut("c005"), "fp16")
    encoder = HeadEncoder(bundle, open_runtime("openvino", bundle), split)
    return Workload(bundle, split, [encoder.encode(file) for file in FILES])


@pytest.fixture
def script():
    started = []

    def start(*behaviours):
        started.append(ScriptedServer(*behaviours))
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def test_all_requests_are_answered_and_all_bytes_counted(driver, workload):
    with start_server(workload.bundle) as server, ProcessUsage(server.process) as usage:
        result = driver.run(server.url, workload, users=5, min_requests=6)
    assert len(result.latencies_us) == 30
    assert (result.errors, result.refused, result.waited_us) == ({}, 0, 0)
    assert min(result.latencies_us) > 0
    bodies = [one.body(workload.bundle).size for one in workload.frames]
    assert 30 * min(bodies) < result.sent_bytes < 30 * (max(bodies) + 400)
    assert 30 * 40 < result.received_bytes < 30 * 1000
    assert usage.cpu_s > 0
    assert 20 << 20 < usage.peak_bytes < 4 << 30


def test_images_of_different_sizes_are_accepted(driver, tmp_path):
    """The length of a frame's header is not the same for all."""
    bundle = resolve_model("digits")
    split = UploadSplit("image")
    encoder = HeadEncoder(bundle, open_runtime("openvino", bundle), split)
    large = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(large, "PNG")
    workload = Workload(bundle, split, [encoder.encode(file) for file in (FILES[0], large.getvalue())])
    assert len({one.body(bundle).header_bytes for one in workload.frames}) == 2
    with start_server(bundle) as server:
        result = driver.run(server.url, workload, users=2, min_requests=2)
    assert (len(result.latencies_us), result.errors) == (4, {})


def test_refused_users_wait_for_retry_after_and_all_are_answered(driver, workload):
    with start_server(workload.bundle, max_pending=2) as server:
        driver.run(server.url, workload, users=1)
        overload = driver.run(server.url, workload, users=24, min_requests=3)
        baseline = driver.run(server.url, workload, users=2, min_requests=10)
    assert (len(overload.latencies_us), overload.errors) == (72, {})
    assert overload.refused > 0
    assert overload.waited_us >= 1_000_000 * overload.refused, "each waits for the one second of Retry-After"
    assert max(overload.latencies_us) > 1_000_000, "latency includes the waiting"
    assert (len(baseline.latencies_us), baseline.refused, baseline.errors) == (20, 0, {}), "no refusals afterwards"


def test_a_refused_user_retries_on_the_same_connection(driver, workload, script):
    later = error(429, "busy", "Retry-After: 1\r\n")
    server = script(later, error(503, "closing"), reply(200, b"x"))
    result = driver.run(server.url, workload, users=1, min_requests=2)
    assert (len(result.latencies_us), result.refused, result.errors) == (2, 2, {})
    assert len(server.paths) == 4
    assert result.waited_us >= 1_100_000
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
def test_errors_are_counted_by_cause_and_the_user_continues(driver, workload, script, answer, cause):
    server = script(answer, reply(200, b"fine"))
    result = driver.run(server.url, workload, users=1, min_requests=3)
    ((found, count),) = result.errors.items()
    assert cause in found
    assert (count, len(result.latencies_us)) == (1, 2)


def test_causes_beyond_ten_are_counted_as_others():
    result = LoadResult()
    for number in range(99):
        result.add_error(str(number % 33))
    assert len(result.errors) == 11
    assert result.errors["others"] == 99 - 3 * 10


def test_each_request_to_a_closed_port_is_an_error(driver, workload):
    result = driver.run(f"http://127.0.0.1:{free_port()}", workload, users=3, min_requests=2)
    assert sum(result.errors.values()) == 3 * 2
    assert result.latencies_us == []


def test_the_server_accepts_the_users_frames(workload):
    """A frame encoded in advance gets the same scores from a server as from the local tail."""
    import httpx

    bundle = workload.bundle
    tail = LocalTail(bundle, open_runtime("openvino", bundle))
    with start_server(bundle) as server:
        body = workload.frames[0].body(bundle)
        address = f"{server.url}/v2/models/digits/versions/c005/infer"
        answer = httpx.post(address, content=body.join(), headers=body.headers, trust_env=False, timeout=HANG_S)
    assert answer.status_code == 200
    outputs = json.loads(answer.content[: int(answer.headers["Inference-Header-Content-Length"])])["outputs"]
    scores = answer.content[-outputs[0]["parameters"]["binary_data_size"] :]
    assert scores == tail.infer("c005", workload.frames[0].frame).scores.tobytes()


def test_uploads_are_the_image_files():
    bundle = resolve_model("digits")
    encoder = HeadEncoder(bundle, open_runtime("openvino", bundle), UploadSplit("image"))
    assert bytes(encoder.encode(FILES[0]).frame.tensors[0].data).endswith(FILES[0])


def test_an_exited_child_is_reported_with_its_last_error(tmp_path):
    failure = pytest.raises(TailUnreachable, match=r"load\.server exited with 1 .*NotABundle.*nowhere")
    with (
        LineProcess("hybrid_batch.inference.benchmark.load.server", "/nowhere", "3", str(tmp_path)) as child,
        failure,
    ):
        child.read_line()
    with LineProcess("hybrid_batch.inference.benchmark.load.client") as child:
        driver = LoadDriver(child)
        child.process.kill()
        child.process.wait()
        bundle = resolve_model("digits")
        split = UploadSplit("image")
        encoder = HeadEncoder(bundle, open_runtime("openvino", bundle), split)
        with pytest.raises(TailUnreachable, match="client exited"):
            driver.run("http://127.0.0.1:1", Workload(bundle, split, [encoder.encode(FILES[0])]), 1)


_STARTS = """
import time
from hybrid_batch.inference.benchmark.head_encoder import HeadEncoder
from hybrid_batch.inference.benchmark.load.client import LoadResult
from hybrid_batch.inference.benchmark.load.driver import LoadDriver, Workload, start_load_driver
from hybrid_batch.inference.benchmark.load.line_process import LineProcess
from hybrid_batch.inference.benchmark.load.server import start_server
from hybrid_batch.inference.benchmark.load.usage import ProcessUsage
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
with start_server(resolve_model("digits")) as server:
    print(server.url, flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_cache_of_a_server_is_deleted_when_its_parent_ends(tmp_path, number):
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
