"""A real server process, with plain HTTP requests and with the unmodified client of Triton."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException

from hybrid_batch.data.errors import BundleMismatch, TailRefused, TailUnreachable
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.wire import Frame, encode_request
from hybrid_batch.inference.serving.http.app import make_app
from hybrid_batch.inference.serving.http.async_handler import ServerSettings
from hybrid_batch.inference.tails.http import open_http_tail
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings
from tests.conftest import HANG_S, is_open
from tests.remote.conftest import ROOT

pytestmark = pytest.mark.slow

FAST = TailSettings(retries=RetryPolicy(attempts=2, first_pause_s=0.01))
CUTS = ("c000", "c004", "c010")
CODECS = ("fp32", "fp16", "int8")


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, trust_env=False, timeout=HANG_S) as client:
        yield client


@pytest.fixture
def tail(server, bundle):
    with open_http_tail(server.url, bundle) as tail:
        yield tail


@pytest.fixture
def frame(bundle, heads, pixels):
    """Makes the frame of the first images at a cut."""

    def make(cut_id="c004", codec="fp32", images=slice(0, 8)):
        boundary = bundle.cut(cut_id).boundary
        tensors = [pixels[images]] if cut_id == "c000" else heads(cut_id)([pixels[images]])
        return Frame(wire_tensors.encode(codec, boundary, tensors))

    return make


def post(client, frame, path="/v2/models/digits/versions/c004/infer", **headers):
    body = encode_request(frame)
    return client.post(path, content=body.join(), headers=body.headers | headers)


@pytest.mark.parametrize("cut_id", CUTS)
def test_triton_client_gets_what_our_client_gets(server, bundle, tail, frame, cut_id):
    sent = frame(cut_id)
    ours = tail.infer(cut_id, sent)
    client = tritonclient.http.InferenceServerClient(server.url.removeprefix("http://"))
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digits", cut_id)
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("digits", cut_id)
        assert metadata["versions"] == [cut.id for cut in bundle.cuts]
        inputs = []
        for described, tensor in zip(metadata["inputs"], sent.tensors, strict=True):
            assert described["shape"] == [-1, *tensor.shape[1:]]
            inputs.append(tritonclient.http.InferInput(described["name"], tensor.shape, described["datatype"]))
            inputs[-1].set_data_from_numpy(np.frombuffer(tensor.data, "<f4").reshape(tensor.shape))
        name = metadata["outputs"][0]["name"]
        for outputs in (
            None,
            [tritonclient.http.InferRequestedOutput(name, binary_data=True)],
            [tritonclient.http.InferRequestedOutput(name, binary_data=False)],
        ):
            result = client.infer("digits", inputs, cut_id, outputs, request_id="7")
            np.testing.assert_array_equal(result.as_numpy(name), ours.scores)
            assert result.get_response()["id"] == "7"
        with pytest.raises(InferenceServerException, match="No cut named 'c04'"):
            client.get_model_metadata("digits", "c04")
    finally:
        client.close()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("cut_id", CUTS)
def test_http_gives_what_the_local_tail_gives(tail, local, frame, cut_id, codec):
    sent = frame(cut_id, codec)
    remote, near = tail.infer(cut_id, sent), local.infer(cut_id, sent)
    np.testing.assert_array_equal(remote.scores, near.scores)
    assert remote.errors == near.errors == (None,) * 8
    assert abs(remote.sent_bytes - near.sent_bytes) < 100
    assert remote.sent_bytes > sum(len(tensor.data) for tensor in sent.tensors)
    assert 0 < remote.timings.tail_us <= remote.timings.server_us <= remote.round_trip_us
    assert remote.link_us == remote.round_trip_us - remote.timings.server_us


def test_split_gives_what_the_whole_model_gives(tail, frame):
    whole, split = (tail.infer(cut, frame(cut)).scores for cut in ("c000", "c004"))
    np.testing.assert_allclose(split, whole, atol=1e-5)


def test_undecodable_images_fail_alone(tail, local, bundle, digits, frame):
    images = [digits[0], b"no image", digits[1], b""]
    sent = Frame(wire_tensors.encode_images(bundle.input, images))
    whole = tail.infer("c000", frame("c000", images=slice(0, 2))).scores
    for answer in (tail.infer("c000", sent), local.infer("c000", sent)):
        assert [error is None for error in answer.errors] == [True, False, True, False]
        assert answer.errors[1] == "no known image format"
        np.testing.assert_array_equal(answer.scores[[0, 2]], whole)
        np.testing.assert_array_equal(answer.scores[[1, 3]], 0)


def test_a_batch_of_undecodable_images(tail, bundle):
    answer = tail.infer("c000", Frame(wire_tensors.encode_images(bundle.input, [b"a", b"b"])))
    assert None not in answer.errors
    assert answer.scores.shape == (2, 10)


def test_an_empty_batch_has_an_empty_response(tail, frame):
    assert tail.infer("c004", frame(images=slice(0, 0))).scores.shape == (0, 10)


def test_a_plain_json_client_gets_json(http, bundle, tail, frame, pixels):
    inputs = [{"name": bundle.input.name, "datatype": "FP32", "shape": [2, 8, 8, 1], "data": pixels[:2].tolist()}]
    reply = http.post("/v2/models/digits/infer", json={"inputs": inputs})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    (output,) = reply.json()["outputs"]
    scores = tail.infer("c000", frame("c000", images=slice(0, 2))).scores
    np.testing.assert_array_equal(np.array(output["data"], np.float32).reshape(output["shape"]), scores)
    assert reply.json()["model_version"] == "c000"


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/v2/models/digit", "'digits'"),
        ("/v2/models/other/versions/c001/ready", "'digits'"),
        ("/v2/models/digits/versions/c04", "did you mean"),
        ("/v2/models", "Not Found"),
        ("/", "Not Found"),
    ],
)
def test_unknown_names_are_404_with_close_matches(http, path, near):
    reply = http.get(path)
    assert reply.status_code == 404
    assert near in reply.json()["error"]


def test_metadata_names_the_bundle_and_its_hash(http, bundle):
    metadata = http.get("/v2/models/digits").json()
    assert metadata["parameters"]["sha256"] == bundle.sha256
    assert metadata["outputs"] == [{"name": bundle.output.name, "datatype": "FP32", "shape": [-1, 10]}]
    assert http.get("/v2/models/digits/infer").status_code == 405


@pytest.mark.parametrize("length", [None, "5", "abc", "999999"])
def test_invalid_frames_are_400(http, length):
    headers = {"Inference-Header-Content-Length": length} if length else {}
    reply = http.post("/v2/models/digits/versions/c004/infer", content=b"\0" * 99, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]


def test_compressed_bodies_are_415(http, frame):
    assert post(http, frame(), **{"Content-Encoding": "gzip"}).status_code == 415


def test_images_for_an_inner_cut_are_400(http, bundle):
    reply = post(http, Frame(wire_tensors.encode_images(bundle.cut("c004").boundary[0], [b"x"])))
    assert (reply.status_code, "whole model" in reply.json()["error"]) == (400, True)


def test_another_bundle_is_409_and_names_both(http, bundle, frame):
    reply = post(http, Frame(frame().tensors, parameters={"bundle": "f00" * 20}))
    assert reply.status_code == 409
    assert "f00f00" in reply.json()["error"]
    assert bundle.sha256[:12] in reply.json()["error"]


def test_wrong_tensors_are_rejected_with_the_servers_message(tail, bundle):
    spec = bundle.cut("c010").boundary
    sent = Frame(wire_tensors.encode("fp32", spec, [np.zeros((1, 32), np.float32)]))
    with pytest.raises(TailRefused, match=r"400.*this cut takes"):
        tail.infer("c004", sent)


def test_check_compares_the_bundle(server, tail, bundle):
    from dataclasses import replace

    tail.check("c009")
    with open_http_tail(server.url, replace(bundle, sha256="0" * 64)) as other, pytest.raises(BundleMismatch) as raised:
        other.check("c009")
    assert "000000000000" in str(raised.value)
    assert bundle.sha256[:12] in str(raised.value)
    with (
        open_http_tail(server.url, replace(bundle, name="cats")) as other,
        pytest.raises(BundleMismatch, match=r"cats.*digits"),
    ):
        other.check("c009")
    with (
        open_http_tail(server.url, replace(bundle, sha256="0" * 64)) as other,
        pytest.raises(BundleMismatch, match="refused"),
    ):
        other.infer("c010", Frame(wire_tensors.encode("fp32", bundle.cut("c010").boundary, [np.zeros((1, 32), "<f4")])))


def test_64_concurrent_clients_get_their_own_scores(server, bundle, local, frame, pixels):
    """Their requests share runtime calls; the scores must be those of each request alone, to the last bit."""
    work = [(cut, codec, slice(i, i + 3)) for i in range(0, 32, 3) for cut in CUTS for codec in CODECS][:96]
    frames = [frame(*job) for job in work]
    alone = [local.infer(job[0], sent).scores for job, sent in zip(work, frames, strict=True)]
    start = threading.Barrier(64)

    def client(offset):
        with open_http_tail(server.url, bundle) as tail:
            start.wait()
            for index in [(offset + step) % len(work) for step in range(6)]:
                np.testing.assert_array_equal(tail.infer(work[index][0], frames[index]).scores, alone[index])

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(client, range(64)))


def test_an_oversized_request_is_rejected_with_and_without_a_declared_size(serve, bundle, frame):
    small = serve("--max-request-mb", "1")
    boundary = bundle.cut("c004").boundary
    large = Frame(
        wire_tensors.encode(
            "fp32", boundary, [np.zeros(((48 << 20) // (4 * boundary[0].elements), *boundary[0].shape), np.float32)]
        )
    )
    with open_http_tail(small.url, bundle, FAST) as tail:
        with pytest.raises(TailRefused, match=r"413.*--max-request-mb"):
            tail.infer("c004", large)
        assert len(tail.infer("c004", frame()).scores) == 8
    connection = HTTPConnection(*small.address, timeout=HANG_S)
    connection.request(
        "POST", "/v2/models/digits/infer", bytes(48 << 20)
    )  # sends the whole body before it reads the response
    assert connection.getresponse().status == 413
    connection.close()

    def endless():
        for _ in range(64):
            yield bytes(1 << 16)

    reply = httpx.post(f"{small.url}/v2/models/digits/infer", content=endless(), trust_env=False, timeout=HANG_S)
    assert reply.status_code == 413


def test_endless_headers_are_not_read(serve):
    server = serve()
    with socket.create_connection(server.address, timeout=HANG_S) as client:
        client.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\nEndless: ")
        with pytest.raises(OSError, match=r"reset|pipe|aborted"):
            for _ in range(256):
                client.sendall(b"x" * (1 << 20))
    assert httpx.get(f"{server.url}/v2/health/live", trust_env=False, timeout=HANG_S).status_code == 200


def test_a_request_whose_body_is_incomplete_takes_no_place(serve, bundle, frame):
    limited = serve("--max-pending", "1")
    with open_request(limited.address, encode_request(frame())) as held:
        with httpx.Client(base_url=limited.url, trust_env=False, timeout=HANG_S) as client:
            assert post(client, frame()).status_code == 200
        assert held.finish()[0] == 200


def test_too_many_pending_requests_are_429_with_retry_after(bundle, frame):
    app, body = make_app(ServerSettings(bundle, max_pending=1)), encode_request(frame())

    async def send():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            path = "/v2/models/digits/versions/c004/infer"
            with app.handler.admission.admit():
                busy = await client.post(path, content=body.join(), headers=body.headers)
                ready = await client.get("/v2/health/live")
            return busy, ready, await client.post(path, content=body.join(), headers=body.headers)

    busy, live, admitted = asyncio.run(send())
    app.handler.close()
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "1")
    assert "retry later" in busy.json()["error"]
    assert (live.status_code, admitted.status_code) == (200, 200)


SHORT_TIMEOUT_SERVER = """
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.serving.http.async_handler import ServerSettings
from hybrid_batch.inference.serving.http.launch import serve
settings = ServerSettings(resolve_model("digits"), max_pending=1, read_timeout_s=0.5)
serve(settings, "127.0.0.1", 0, 1, lambda url: print(url, flush=True))
"""


@pytest.fixture
def short_timeout_address():
    """The host and port of a server with a read timeout of half a second that admits one request at a time."""
    process = subprocess.Popen(
        [sys.executable, "-c", SHORT_TIMEOUT_SERVER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    host, _, port = process.stdout.readline().strip().removeprefix("http://").rpartition(":")
    yield host, int(port)
    process.terminate()
    process.communicate(timeout=HANG_S)


def test_a_client_that_stops_in_the_middle_of_a_request_loses_its_permit(short_timeout_address, frame):
    body = encode_request(frame())
    with open_request(short_timeout_address, body, expect=False) as held:
        status, content = held.reply()
        assert (status, json.loads(content)) == (408, {"error": "No data arrived for 0.5 s; send the request again."})
    with open_request(short_timeout_address, body, expect=False, missing=0) as whole:
        assert whole.reply()[0] == 200


class ManualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is set by the test."""

    now = 0.0

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize(("pause_s", "status"), [(0.49, 200), (0.51, 408)])
def test_a_slow_client_is_waited_for(bundle, frame, pause_s, status):
    """The timeout applies to each piece of the body, not to the whole."""
    app, body = make_app(ServerSettings(bundle, read_timeout_s=0.5)), encode_request(frame())
    content = body.join()
    pieces = [content[:1], content[1:9], content[9:20], content[20:]]
    path = "/v2/models/digits/versions/c004/infer"
    headers = [(name.lower().encode(), value.encode()) for name, value in body.headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": headers, "root_path": "", "http_version": "1.1", "scheme": "http"}
    sent = []

    async def receive():
        loop.now += pause_s
        await asyncio.sleep(0)  # runs callbacks that are due
        await asyncio.sleep(0)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message):
        sent.append(message)

    loop = ManualClockLoop()
    loop.run_until_complete(app(scope, receive, send))
    loop.close()
    app.handler.close()
    assert sent[0]["status"] == status


class open_request:  # noqa: N801 - used as a context
    """An inference request whose last byte has not been sent. With `expect` the server has admitted it, because it
    requests the content only then."""

    def __init__(self, address, body, *, expect=True, missing=1):
        content = body.join()
        fields = {**body.headers, "Content-Length": len(content), **({"Expect": "100-continue"} if expect else {})}
        headers = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        sent, self._last = content[: len(content) - missing], content[len(content) - missing :]
        self._socket = socket.create_connection(address, timeout=HANG_S)
        head = f"POST /v2/models/digits/versions/c004/infer HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()
        if expect:
            self._socket.sendall(head)
            interim = self._socket.recv(1 << 16)
            assert interim.startswith(b"HTTP/1.1 100 "), interim
            assert interim.endswith(b"\r\n\r\n"), interim
        self._socket.sendall(sent if expect else head + sent)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def finish(self):
        """Send the last byte. Returns the status and body of the reply."""
        self._socket.sendall(self._last)
        return self.reply()

    def reply(self):
        """The status and body of the reply."""
        reply = b""
        while b"\r\n\r\n" not in reply:
            received = self._socket.recv(1 << 16)
            if not received:
                raise ConnectionError(f"closed after {reply!r}")
            reply += received
        head, _, content = reply.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        while len(content) < int(fields["content-length"]):
            content += self._socket.recv(1 << 16)
        return int(head.split()[1]), content


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["alone", "processes"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_finishes_running_requests_and_rejects_new_ones(serve, bundle, frame, options, number):
    server = serve(*options)
    body = encode_request(frame())
    held = [open_request(server.address, body) for _ in range(8)]
    server.process.send_signal(number)
    while is_open(server.address[1]):
        time.sleep(0.05)
    assert server.process.poll() is None, "it ended before its running requests"
    with open_http_tail(server.url, bundle, FAST) as late, pytest.raises(TailUnreachable):
        late.infer("c004", frame())
    assert [request.finish()[0] for request in held] == [200] * 8
    code, said = server.stop()
    assert code == 0
    assert said.startswith("Serving digits (")
    assert said.count("\n") == 1, said
    for request in held:
        request.__exit__()


def test_a_killed_server_is_an_unreachable_tail(serve, bundle, frame):
    server = serve()
    sent = frame()
    answered = []

    def run():
        while True:
            answered.append(tail.infer("c004", sent).scores)

    with open_http_tail(server.url, bundle, FAST) as tail, ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run) for _ in range(4)]
        while len(answered) < 20:
            time.sleep(0.01)
        server.process.kill()
        errors = [future.exception(timeout=HANG_S) for future in running]
    assert all(isinstance(error, TailUnreachable) for error in errors)
    assert server.url in str(errors[0])
    assert all((scores == answered[0]).all() for scores in answered)


def test_killing_the_parent_ends_all_processes(serve, bundle):
    server = serve("--processes", "2")
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert len(children) >= 2
    server.process.kill()
    server.process.wait()
    _, left = psutil.wait_procs(children, timeout=HANG_S)
    assert not left, "processes run on after their parent was killed"
    assert not is_open(server.address[1])
