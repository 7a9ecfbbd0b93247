"""Metrics, log, readiness, traces and Triton's documents of a real server."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.http
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.trace_context import find_trace_id, make_traceparent
from hybrid_batch.inference.protocol.wire import Frame, encode_request
from hybrid_batch.inference.serving.monitoring.metric_layout import OPERATIONS, Refusal
from hybrid_batch.inference.serving.monitoring.metrics import InferenceTimes, ServerMetrics
from hybrid_batch.inference.serving.monitoring.request_log import RequestLog
from hybrid_batch.inference.serving.monitoring.saturation import SUSTAINED_S, Saturation
from hybrid_batch.inference.serving.monitoring.shared_counters import SharedCounters, create_counters_file
from hybrid_batch.inference.serving.oip import Operation
from hybrid_batch.inference.tails.http import open_http_tail
from tests.conftest import HANG_S
from tests.remote.conftest import ROOT, Server

pytestmark = pytest.mark.slow

SECRET = "a-secret-that-no-line-may-show"  # noqa: S105
INFER = "/v2/models/digits/versions/c004/infer"


@pytest.fixture(scope="module")
def monitored():
    """A server of two processes that logs every request as JSON."""
    server = Server("digits", "--processes", "2", "--log-format", "json", "--access-log")
    yield server
    server.stop()


@pytest.fixture
def body(bundle, heads, pixels):
    return encode_request(Frame(wire_tensors.encode("fp32", bundle.cut("c004").boundary, heads("c004")([pixels[:4]]))))


def scrape(url: str) -> dict[str, float]:
    """The samples of a scrape, by name and labels, as Prometheus' own parser reads them."""
    text = httpx.get(f"{url}/metrics", trust_env=False, timeout=HANG_S).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {f"{one.name}{sorted(one.labels.values())}": one.value for one in samples}


def settle(server, name: str, expected: float) -> float:
    """The value of a sample once it is `expected`, or after many scrapes. A request is counted after its reply."""
    for _ in range(100):
        if (value := scrape(server.url).get(name, 0.0)) == expected:
            break
    return value


def test_every_process_counts_and_any_of_them_reports_all(monitored, body):
    before = scrape(monitored.url)
    for _ in range(40):  # each on a connection of its own, so that both processes get some
        reply = httpx.post(monitored.url + INFER, content=body.join(), headers=body.headers, trust_env=False)
        assert reply.status_code == 200
    httpx.post(monitored.url + INFER, content=b"no frame", trust_env=False, timeout=HANG_S)
    httpx.get(f"{monitored.url}/v2/models/other", trust_env=False, timeout=HANG_S)
    infer = "hybrid_batch_requests_total['200', 'infer']"
    assert settle(monitored, infer, before.get(infer, 0) + 40) == before.get(infer, 0) + 40
    after = scrape(monitored.url)
    for stage in ("read", "decode", "compute", "encode", "queue"):
        name = f"hybrid_batch_stage_seconds_count['{stage}']"
        assert after[name] - before.get(name, 0) >= 40, stage
        assert after[f"hybrid_batch_stage_seconds_bucket['+Inf', '{stage}']"] == after[name]
    for reason in ("malformed", "not_found"):
        assert (
            after[f"hybrid_batch_refusals_total['{reason}']"] == before[f"hybrid_batch_refusals_total['{reason}']"] + 1
        )
    received = after["hybrid_batch_received_bytes_total[]"] - before["hybrid_batch_received_bytes_total[]"]
    assert received == 40 * body.size + len(b"no frame")
    assert after["hybrid_batch_processes[]"] == 2
    assert 1 <= after["hybrid_batch_compiled_cuts[]"] <= 4
    resident = sum(child.memory_info().rss for child in psutil.Process(monitored.process.pid).children())
    assert resident / 3 < after["hybrid_batch_resident_bytes[]"] < resident * 3
    assert after["hybrid_batch_pending_requests[]"] == after["hybrid_batch_held_bytes[]"] == 0


def test_a_process_that_is_killed_loses_no_count(body, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = Server("digits", "--processes", "2")
    assert len(list(tmp_path.glob("hybrid-batch-counters-*"))) == 1
    for _ in range(10):
        assert httpx.post(server.url + INFER, content=body.join(), headers=body.headers, trust_env=False).is_success
    infer = "hybrid_batch_requests_total['200', 'infer']"
    assert settle(server, infer, 10) == 10
    workers = [one for one in psutil.Process(server.process.pid).children() if "spawn_main" in " ".join(one.cmdline())]
    workers[0].kill()
    for _ in range(20):
        with contextlib.suppress(httpx.TransportError):  # of a connection that the killed process had
            assert scrape(server.url)[infer] == 10
    assert server.stop()[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_openmetrics_is_sent_to_a_client_that_wants_it(monitored):
    reply = httpx.get(
        f"{monitored.url}/metrics", headers={"Accept": "application/openmetrics-text"}, trust_env=False, timeout=HANG_S
    )
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
    assert reply.text.endswith("# EOF\n")
    assert httpx.post(f"{monitored.url}/metrics", trust_env=False, timeout=HANG_S).status_code == 405


def test_every_operation_has_a_number_of_its_own():
    assert {operation.name.lower() for operation in Operation} | {"unknown"} == set(OPERATIONS)


def test_many_scrapes_at_once_share_a_document(monitored):
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: scrape(monitored.url), range(60)))
    assert all("hybrid_batch_processes[]" in reply for reply in replies)


def test_the_labels_of_metrics_come_from_no_client(monitored):
    """A metric for each path or method of a client would fill the memory of the server and of Prometheus."""
    names = set(scrape(monitored.url))
    for number in range(10):
        httpx.request(f"M{number}", f"{monitored.url}/v2/{number}", trust_env=False, timeout=HANG_S)
        httpx.get(f"{monitored.url}/v2/models/digits/versions/c{number}", trust_env=False, timeout=HANG_S)
    new = set(scrape(monitored.url)) - names
    assert len(new) < 8
    assert not re.search(r"M\d|c\d\d", " ".join(new))


def test_lines_have_no_payload_and_no_token(bundle, body, heads, pixels):
    server = Server("digits", "--log-format", "json", "--access-log")
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = body.headers | {"Authorization": f"Bearer {SECRET}", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    with httpx.Client(base_url=server.url, trust_env=False, timeout=HANG_S) as client:
        assert client.post(f"{INFER}?token={SECRET}", content=body.join(), headers=headers).status_code == 200
        client.post(INFER, content=SECRET.encode(), headers={"Cookie": SECRET})
        client.get("/v2/models/%1b%5d0;title%07%c2%9b%e2%80%ae")
        client.get("/v2/models/%0ainjected%0d%0a")
    frame = Frame(wire_tensors.encode("fp32", bundle.cut("c004").boundary, heads("c004")([pixels[:2]])))
    with open_http_tail(server.url, bundle) as tail:
        for _ in range(3):
            tail.infer("c004", frame)
    code, said = server.stop()
    assert code == 0
    assert SECRET not in said
    assert said.isascii()
    assert "\x1b" not in said
    lines = [json.loads(line) for line in said.splitlines()]  # each line is an object: nothing was injected
    assert any(line.get("message", "").startswith("Serving digits") for line in lines)
    done, malformed, *run = (line for line in lines if line.get("operation") == "infer")
    (odd,) = (line for line in lines if "title" in line.get("path", ""))
    assert (done["status"], done["trace_id"], done["received_bytes"]) == (200, trace, body.size)
    assert done["path"] == INFER
    assert done["peer"].startswith("127.0.0.1:")
    assert {"read", "decode", "queue", "compute", "encode"} <= set(done["stages_ms"])
    assert (malformed["status"], odd["status"]) == (400, 404)
    assert len({line["request_id"] for line in (done, malformed, odd)}) == 3
    assert len({line["trace_id"] for line in run}) == 3  # the runner gives each request a trace
    assert all(re.fullmatch("[0-9a-f]{32}", line["trace_id"]) for line in run)


def test_without_the_option_only_errors_are_logged():
    stream = io.StringIO()
    log = RequestLog("text", stream=stream)
    assert not log.wants(200)
    assert not log.wants(429)
    assert log.wants(500)
    for _ in range(1000):
        log.failure(ValueError("defect"))
    assert stream.getvalue().count("ValueError: defect") == 10


def test_a_saturated_server_is_not_ready_until_it_has_recovered():
    now = [0.0]
    saturation = Saturation(lambda: now[0])
    shares = (0.5, 0.89, 0.9, 0.7, 0.6, 0.59, 0.7, 1.2)

    def update(share):
        saturation.update(share)
        now[0] += SUSTAINED_S
        return saturation.update(share)

    assert [update(share) for share in shares] == [False, False, True, True, True, False, False, True]


def test_a_short_burst_leaves_the_server_ready():
    now = [0.0]
    saturation = Saturation(lambda: now[0])
    for _ in range(10):
        assert not saturation.update(1.0)
        now[0] += 0.9 * SUSTAINED_S
        assert not saturation.update(1.0)
        assert not saturation.update(0.5)


def test_readiness_follows_the_pending_requests_and_liveness_does_not(bundle):
    """Real requests that wait for the rest of their body hold the places of a small server."""
    import asyncio

    from hybrid_batch.inference.serving.http.app import make_app
    from hybrid_batch.inference.serving.http.async_handler import ServerSettings

    app = make_app(ServerSettings(bundle, max_pending=10))
    admission, now = app.handler.admission, [0.0]
    admission._saturation = Saturation(lambda: now[0])

    async def states() -> tuple[int, int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            ready, live = await client.get("/v2/health/ready"), await client.get("/v2/health/live")
        return ready.status_code, live.status_code

    async def fill_and_empty() -> list[tuple[int, int]]:
        found = [await states()]
        permits = [admission.admit() for _ in range(9)]
        for permit in permits:
            permit.__enter__()
        now[0] += SUSTAINED_S
        found.append(await states())
        for count, permit in enumerate(permits, 1):
            permit.__exit__(None, None, None)
            if count in (2, 4):
                found.append(await states())
        return found

    assert asyncio.run(fill_and_empty()) == [(200, 200), (503, 200), (503, 200), (200, 200)]
    app.handler.close()


def test_triton_client_reads_index_configuration_and_statistics(monitored, bundle, body):
    client = tritonclient.http.InferenceServerClient(monitored.url.removeprefix("http://"))
    try:
        index = client.get_model_repository_index()
        assert [entry["version"] for entry in index] == [cut.id for cut in bundle.cuts]
        assert {(entry["name"], entry["state"]) for entry in index} == {("digits", "READY")}
        config = client.get_model_config("digits", "c004")
        assert config["input"][0]["dims"] == list(bundle.cut("c004").boundary[0].shape)
        assert config["input"][0]["data_type"] == "TYPE_FP32"
        assert config["max_batch_size"] == 64
        assert json.loads(config["parameters"]["labels"]["string_value"]) == list(bundle.labels)
        (before,) = client.get_inference_statistics("digits", "c004")["model_stats"]
        httpx.post(monitored.url + INFER, content=body.join(), headers=body.headers, trust_env=False, timeout=HANG_S)
        (after,) = client.get_inference_statistics("digits", "c004")["model_stats"]
        assert after["inference_count"] - before["inference_count"] == 4
        assert after["execution_count"] - before["execution_count"] == 1
        assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
        assert after["last_inference"] > 1_700_000_000_000
        assert len(client.get_inference_statistics()["model_stats"]) == len(bundle.cuts)
    finally:
        client.close()


def test_a_client_with_only_the_documented_rule_classifies_images(server, bundle):
    """What docs/serving.md says a client in another language does; no code of this project is used for it."""

    def get(path: str) -> dict:
        with urllib.request.urlopen(server.url + path, timeout=HANG_S) as reply:  # noqa: S310
            return json.load(reply)

    metadata = get("/v2/models/digits/versions/c000")
    rule, labels = metadata["parameters"], json.loads(metadata["parameters"]["labels"])
    images, truth = [], []
    for path in sorted((ROOT / "data/digits/images").rglob("*.png"))[::40]:
        image = Image.open(path).convert("L" if rule["colour"] == "grey" else "RGB")
        assert rule["resize"] == "squash"
        image = image.resize((rule["input_width"], rule["input_height"]), Image.Resampling.BILINEAR)
        assert rule["scale"] == "0-1"
        images.append(np.asarray(image, np.float32).reshape(metadata["inputs"][0]["shape"][1:]) / 255)
        truth.append(path.parent.name)
    tensor = {
        "name": metadata["inputs"][0]["name"],
        "datatype": "FP32",
        "shape": [len(images), *metadata["inputs"][0]["shape"][1:]],
        "data": np.stack(images).ravel().tolist(),
    }
    request = urllib.request.Request(  # noqa: S310
        f"{server.url}/v2/models/digits/versions/c000/infer",
        json.dumps({"inputs": [tensor]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=HANG_S) as reply:  # noqa: S310
        (output,) = json.load(reply)["outputs"]
    scores = np.reshape(output["data"], output["shape"])
    found = [labels[best] for best in scores.argmax(1)]
    assert np.mean([one == true for one, true in zip(found, truth, strict=True)]) > 0.85


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{'A' * 32}-b7ad6b7169203331-01",
        f"01-{'a' * 5000}",
        "00-" * 99,
    ],
)
def test_an_invalid_trace_is_ignored(header):
    assert find_trace_id(header) is None
    assert find_trace_id(make_traceparent())


def test_spans_belong_to_the_trace_of_the_request(body):
    """In a process of its own: the provider of spans is global."""
    code = """
import asyncio, httpx, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.protocol.trace_context import make_traceparent
from hybrid_batch.inference.serving.http.app import make_app
from hybrid_batch.inference.serving.http.async_handler import ServerSettings

exporter = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
app = make_app(ServerSettings(resolve_model("digits")))

async def send():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        with trace.get_tracer("test").start_as_current_span("client"):
            return await client.post(
                "/v2/models/digits/infer", content=b"{}", headers={"traceparent": make_traceparent()}
            )

asyncio.run(send())
app.handler.close()
server, client = exporter.get_finished_spans()
assert (server.name, client.name) == ("infer", "client"), (server.name, client.name)
assert server.context.trace_id == client.context.trace_id
assert server.parent.span_id == client.context.span_id
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_serving_imports_no_library_of_monitoring():
    code = (
        "import sys, hybrid_batch.inference.serving.http.launch\n"
        "from hybrid_batch.inference.model.importing.resolve_model import resolve_model\n"
        "from hybrid_batch.inference.serving.http.app import make_app\n"
        "from hybrid_batch.inference.serving.http.async_handler import ServerSettings\n"
        "make_app(ServerSettings(resolve_model('digits')))\n"
        "print([m for m in ('prometheus_client', 'opentelemetry') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_threads_and_processes_lose_no_count(tmp_path):
    path = create_counters_file()
    metrics = ServerMetrics(["c000", "c001"], path)
    times = InferenceTimes(2, 0.001, 0.002, 0.003, 0.0001)

    def count(number: int) -> None:
        for _ in range(500):
            metrics.count_request("infer", 200 + number, 1, 2)
            metrics.count_inference("c001", times, 0.01)
            metrics.refuse(Refusal.RATE)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    code = (
        "import sys\nfrom hybrid_batch.inference.serving.monitoring.metrics import ServerMetrics\n"
        "ServerMetrics(['c000', 'c001'], sys.argv[1]).count_request('infer', 200)"
    )
    subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, check=True)
    values = metrics.read()
    assert sum(values.requests().values()) == 2001
    assert values.refusals()[Refusal.RATE] == 2000
    assert values.cut("c001")["images"] == 4000
    assert len(values.processes) == 1
    os.unlink(path)  # noqa: PTH108


def test_more_processes_than_rows_still_count(monkeypatch):
    from hybrid_batch.inference.serving.monitoring import shared_counters

    monkeypatch.setattr(shared_counters, "_ROWS", 1)
    path = create_counters_file()
    SharedCounters(3, path).own[0] = 1
    assert len(SharedCounters(3, path).rows()) == 1
    os.unlink(path)  # noqa: PTH108
