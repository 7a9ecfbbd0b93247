"""The request handler in this process, and the HTTP server, reply alike to every request."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime, open_runtime
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import (
    HEADER_LENGTH,
    Frame,
    decode_response,
    encode_request,
    parse_header_length,
)
from hybrid_batch.inference.serving.inference_request import reply_bytes
from hybrid_batch.inference.serving.request_handler import Limits, RequestHandler
from tests.conftest import HANG_S, ROOT
from tests.remote.conftest import Serve, Server

MODEL = "/v2/models/digits"


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "data/digits/images").rglob("*.png"))[::30]]


@pytest.fixture(scope="module")
def handler(bundle: Bundle, runtime: Runtime) -> RequestHandler:
    return RequestHandler(bundle, runtime)


def post(frame: Frame, path: str = f"{MODEL}/versions/c004/infer", **headers: str) -> Request:
    body = encode_request(frame)
    return Request("POST", path, body.headers | headers, body.join())


def images_frame(bundle: Bundle, images: list[bytes], sha256: str = "") -> Frame:
    parameters = {"bundle": sha256} if sha256 else {}
    return Frame(wire_tensors.encode_images(bundle.input, images), id="7", parameters=parameters)


def tensors_frame(bundle: Bundle, cut_id: str = "c004", codec: str = "fp32", images: int = 5) -> Frame:
    boundary = bundle.cut(cut_id).boundary
    random = np.random.default_rng(images)
    tensors = [random.random((images, *spec.shape), np.float32) for spec in boundary]
    return Frame(wire_tensors.encode(codec, boundary, tensors))


def requests(bundle: Bundle, images: list[bytes]) -> dict[str, Request]:
    infer = f"{MODEL}/versions/c004/infer"
    inner = Frame(wire_tensors.encode_images(bundle.cut("c004").boundary[0], images))
    plain = {"name": bundle.input.name, "datatype": "FP32", "shape": [1, 8, 8, 1], "data": [0.5] * 64}
    return {
        "server": Request("GET", "/v2"),
        "live": Request("GET", "/v2/health/live"),
        "ready": Request("GET", "/v2/health/ready"),
        "model": Request("GET", MODEL),
        "model, encoded": Request("GET", "/v2/models/%64igits"),
        "model, with a slash": Request("GET", f"{MODEL}/"),
        "server, with a slash": Request("GET", "/v2/"),
        "cut": Request("GET", f"{MODEL}/versions/c004"),
        "cut is ready": Request("GET", f"{MODEL}/versions/c004/ready"),
        "no such path": Request("GET", "/v2/models"),
        "root path": Request("GET", "/"),
        "no such method": Request("GET", infer),
        "no such method of a model": Request("POST", MODEL),
        "no such model": Request("GET", "/v2/models/digit"),
        "another model": Request("GET", "/v2/models/cats/versions/c001/ready"),
        "no such cut": Request("GET", f"{MODEL}/versions/c04"),
        "no such cut to infer": post(tensors_frame(bundle), f"{MODEL}/versions/conv9/infer"),
        "images": post(images_frame(bundle, images), f"{MODEL}/versions/c000/infer"),
        "images, version left out": post(images_frame(bundle, images), f"{MODEL}/infer"),
        "some broken images": post(images_frame(bundle, [images[0], b"no", b""]), f"{MODEL}/infer"),
        "images for an inner cut": post(inner),
        **{codec: post(tensors_frame(bundle, codec=codec)) for codec in codecs.TENSOR_CODECS},
        "no images": post(tensors_frame(bundle, images=0)),
        "this bundle": post(images_frame(bundle, images, bundle.sha256), f"{MODEL}/infer"),
        "other bundle": post(images_frame(bundle, images, "f00" * 20), f"{MODEL}/infer"),
        "tensors of another cut": post(tensors_frame(bundle, "c010")),
        "garbage": Request("POST", infer, {}, b"\0" * 99),
        "garbage after a header": Request("POST", infer, {HEADER_LENGTH: "5"}, b"\0" * 99),
        "no number": Request("POST", infer, {HEADER_LENGTH: "abc"}, b"{}"),
        "nothing": Request("POST", infer),
        "compressed": post(tensors_frame(bundle), **{"Content-Encoding": "gzip"}),
        "as plain JSON": Request("POST", f"{MODEL}/infer", {}, json.dumps({"inputs": [plain]}).encode()),
    }


STATUSES = {
    **dict.fromkeys(("no such path", "root path", "no such model", "another model"), 404),
    **dict.fromkeys(("no such cut", "no such cut to infer"), 404),
    **dict.fromkeys(("no such method", "no such method of a model"), 405),
    **dict.fromkeys(("garbage", "garbage after a header", "no number", "nothing"), 400),
    **dict.fromkeys(("tensors of another cut", "images for an inner cut"), 400),
    "other bundle": 409,
    "compressed": 415,
}


def comparable(status: int, header_length: str | None, content: bytes) -> tuple[int, object, object]:
    """The contents of a reply without the times in it."""
    if header_length is None:
        document = json.loads(content)
        timings = document.get("parameters", {})
        for name in [name for name in timings if name.endswith("_us")]:
            assert timings.pop(name) >= 0
        return status, document, None
    frame = decode_response(content, parse_header_length(header_length))
    tensors = [(tensor.name, tensor.datatype, tensor.shape, bytes(tensor.data)) for tensor in frame.tensors]
    return status, frame.id, tensors


def test_the_handler_replies_as_the_server_replies(
    bundle: Bundle, handler: RequestHandler, images: list[bytes], server: Server
) -> None:
    all_requests = requests(bundle, images)
    with httpx.Client(base_url=server.url, trust_env=False, timeout=HANG_S) as client:
        for name, request in all_requests.items():
            http = client.request(request.method, request.path, headers=request.headers, content=request.content)
            local = handler.handle(request)
            assert local.status == STATUSES.get(name, 200), (name, local.message)
            for header in ("content-type", "allow", "retry-after"):
                assert local.header(header) == http.headers.get(header), (name, header)
            assert comparable(local.status, local.header(HEADER_LENGTH), local.content) == comparable(
                http.status_code, http.headers.get(HEADER_LENGTH), http.content
            ), name


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", f"{MODEL}/infer", "POST"), ("HEAD", f"{MODEL}/infer", "POST"), ("POST", MODEL, "GET, HEAD")],
)
def test_another_method_is_405_with_the_allowed_ones(
    handler: RequestHandler, method: str, path: str, allowed: str
) -> None:
    reply = handler.handle(Request(method, path))
    assert (reply.status, reply.header("Allow")) == (405, allowed)


def test_a_model_may_have_a_slash_in_its_name(bundle: Bundle, runtime: Runtime, server: Server) -> None:
    handler = RequestHandler(replace(bundle, name="a/b"), runtime)
    reply = handler.handle(Request("GET", "/v2/models/a%2Fb/ready"))
    assert json.loads(reply.content) == {"name": "a/b", "version": "c000", "ready": True}
    other = httpx.get(f"{server.url}/v2/models/a%2Fb", trust_env=False, timeout=HANG_S)
    assert (other.status_code, "No model named 'a/b'" in other.json()["error"]) == (404, True)


def test_an_oversized_request_is_rejected_as_by_the_server(bundle: Bundle, serve: Serve) -> None:
    small = RequestHandler(bundle, open_runtime("openvino", bundle), Limits(request_bytes=1 << 20, announced_bytes=500))
    request = Request("POST", f"{MODEL}/infer", {}, bytes(2 << 20))
    reply = small.handle(request)
    url = serve("--max-request-mb", "1").url
    http = httpx.post(f"{url}{MODEL}/infer", content=request.content, trust_env=False, timeout=HANG_S)
    assert (reply.status, reply.message) == (http.status_code, http.json()["error"])
    assert reply.status == 413
    assert json.loads(small.handle(Request("GET", MODEL)).content)["parameters"]["max_request_bytes"] == 500


def test_requests_computed_together_get_the_bits_of_each_alone(bundle: Bundle) -> None:
    runtime = CountingRuntime(open_runtime("openvino", bundle))
    handler = RequestHandler(bundle, runtime, Limits(batch=8))
    images = [("c004", 3), ("c010", 2), ("c004", 5), ("c004", 1), ("c004", 9), ("c010", 1)]
    sent = [post(tensors_frame(bundle, cut, images=count), f"{MODEL}/versions/{cut}/infer") for cut, count in images]
    sent.insert(2, Request("GET", f"{MODEL}/versions/c99"))
    alone = [content_of(handler.handle(request)) for request in sent]
    runtime.batches.clear()
    assert [content_of(reply) for reply in handler.handle_all(sent)] == alone
    # 3 and 5 of c004 fill a batch, 1 and 9 exceed one; 2 and 1 of c010 share one.
    assert runtime.batches == [8, 1, 9, 3]
    assert handler.handle_all([]) == []


def test_decoded_bytes_are_limited(bundle: Bundle) -> None:
    runtime = CountingRuntime(open_runtime("openvino", bundle))
    image_bytes = wire_tensors.decoded_bytes(bundle.cut("c004").boundary, 1)
    image_bytes += reply_bytes(bundle, tensors_frame(bundle, images=1), 1)
    handler = RequestHandler(bundle, runtime, Limits(decoded_bytes=5 * image_bytes))
    sent = [post(tensors_frame(bundle, images=count)) for count in (2, 3, 1, 9, 4, 1)]
    alone = [content_of(handler.handle(request)) for request in sent]
    runtime.batches.clear()
    assert [content_of(reply) for reply in handler.handle_all(sent)] == alone
    assert runtime.batches == [5, 1, 9, 5], "9 images exceed the limit and are computed at once"


def test_it_is_thread_safe(bundle: Bundle, handler: RequestHandler) -> None:
    sent = [post(tensors_frame(bundle, "c006", images=count), f"{MODEL}/versions/c006/infer") for count in range(24)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(handler.handle, sent))
    assert [content_of(reply) for reply in replies] == [content_of(handler.handle(request)) for request in sent]


def test_a_failing_runtime_is_a_reply_and_a_traceback(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    handler = RequestHandler(bundle, CountingRuntime(open_runtime("openvino", bundle), fails=True))
    replies = handler.handle_all([post(tensors_frame(bundle)), Request("GET", MODEL)])
    assert [reply.status for reply in replies] == [500, 200]
    assert replies[0].message == "The server failed: RuntimeError: out of order"
    assert "Traceback" in capsys.readouterr().err


def test_it_imports_only_what_it_needs() -> None:
    """Imports take most of a cold start, and the package for Lambda has none of these libraries."""
    program = (
        "import sys, hybrid_batch.inference.serving.request_handler, hybrid_batch.inference.model.runtimes.openvino\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env={"PATH": ""}
    )
    assert not {"starlette", "httpx", "pyarrow", "pandas", "click", "asyncio", "rich", "boto3"} & set(
        done.stdout.split()
    )


def content_of(reply: Reply) -> object:
    return comparable(reply.status, reply.header(HEADER_LENGTH), reply.content)


class CountingRuntime:
    """The real runtime, which keeps the batch sizes of its calls, or fails instead."""

    name = "openvino"

    def __init__(self, runtime, fails=False):
        self._runtime, self._fails = runtime, fails
        self.batches = []

    def compile(self, inputs, outputs):
        segment = self._runtime.compile(inputs, outputs)

        def call(tensors):
            self.batches.append(len(tensors[0]))
            if self._fails:
                raise RuntimeError("out of order")
            return segment(tensors)

        return call
