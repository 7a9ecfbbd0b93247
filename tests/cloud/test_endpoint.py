"""The endpoint and the server answer alike, whatever they are asked."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import (
    HEADER_LENGTH,
    Frame,
    decode_response,
    encode_request,
    parse_header_length,
)
from hybrid_batch.inference.serving.request_handler import Endpoint, Limits
from tests.conftest import HANG_S, ROOT, Server

MODEL = "/v2/models/digits"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_model("digits")


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "data/digits/images").rglob("*.png"))[::30]]


@pytest.fixture(scope="module")
def endpoint(bundle: Bundle) -> Endpoint:
    return Endpoint(bundle, open_engine("openvino", bundle))


def post(frame: Frame, path: str = f"{MODEL}/versions/c004/infer", **headers: str) -> Request:
    body = encode_request(frame)
    return Request("POST", path, body.headers | headers, body.join())


def pictures_frame(bundle: Bundle, pictures: list[bytes], meant: str = "") -> Frame:
    parameters = {"bundle": meant} if meant else {}
    return Frame(codecs.encode_pictures(bundle.input, pictures), id="7", parameters=parameters)


def tensors_frame(bundle: Bundle, cut_id: str = "c004", codec: str = "fp32", images: int = 5) -> Frame:
    boundary = bundle.cut(cut_id).boundary
    chance = np.random.default_rng(images)
    tensors = [chance.random((images, *spec.shape), np.float32) for spec in boundary]
    return Frame(codecs.encode(codec, boundary, tensors))


def requests(bundle: Bundle, pictures: list[bytes]) -> dict[str, Request]:
    infer = f"{MODEL}/versions/c004/infer"
    inside = Frame(codecs.encode_pictures(bundle.cut("c004").boundary[0], pictures))
    plain = {"name": bundle.input.name, "datatype": "FP32", "shape": [1, 8, 8, 1], "data": [0.5] * 64}
    return {
        "server": Request("GET", "/v2"),
        "live": Request("GET", "/v2/health/live"),
        "ready": Request("GET", "/v2/health/ready"),
        "model": Request("GET", MODEL),
        "model, encoded": Request("GET", "/v2/models/%64igits"),
        "cut": Request("GET", f"{MODEL}/versions/c004"),
        "cut is ready": Request("GET", f"{MODEL}/versions/c004/ready"),
        "no such path": Request("GET", "/v2/models"),
        "no such path at all": Request("GET", "/"),
        "no such method": Request("GET", infer),
        "no such method either": Request("POST", MODEL),
        "no such model": Request("GET", "/v2/models/digit"),
        "quite another model": Request("GET", "/v2/models/cats/versions/c001/ready"),
        "no such cut": Request("GET", f"{MODEL}/versions/c04"),
        "no such cut to infer": post(tensors_frame(bundle), f"{MODEL}/versions/conv9/infer"),
        "pictures": post(pictures_frame(bundle, pictures), f"{MODEL}/versions/c000/infer"),
        "pictures, version left out": post(pictures_frame(bundle, pictures), f"{MODEL}/infer"),
        "some broken pictures": post(pictures_frame(bundle, [pictures[0], b"no", b""]), f"{MODEL}/infer"),
        "pictures inside": post(inside),
        **{codec: post(tensors_frame(bundle, codec=codec)) for codec in codecs.TENSOR_CODECS},
        "no images": post(tensors_frame(bundle, images=0)),
        "this bundle": post(pictures_frame(bundle, pictures, bundle.sha256), f"{MODEL}/infer"),
        "other bundle": post(pictures_frame(bundle, pictures, "f00" * 20), f"{MODEL}/infer"),
        "tensors of another cut": post(tensors_frame(bundle, "c010")),
        "garbage": Request("POST", infer, {}, b"\0" * 99),
        "garbage after a header": Request("POST", infer, {HEADER_LENGTH: "5"}, b"\0" * 99),
        "no number": Request("POST", infer, {HEADER_LENGTH: "abc"}, b"{}"),
        "nothing": Request("POST", infer),
        "compressed": post(tensors_frame(bundle), **{"Content-Encoding": "gzip"}),
        "as plain JSON": Request("POST", f"{MODEL}/infer", {}, json.dumps({"inputs": [plain]}).encode()),
    }


STATUSES = {
    **dict.fromkeys(("no such path", "no such path at all", "no such model", "quite another model"), 404),
    **dict.fromkeys(("no such cut", "no such cut to infer"), 404),
    **dict.fromkeys(("no such method", "no such method either"), 405),
    **dict.fromkeys(("garbage", "garbage after a header", "no number", "nothing"), 400),
    **dict.fromkeys(("tensors of another cut", "pictures inside"), 400),
    "other bundle": 409,
    "compressed": 415,
}


def told(status: int, header_length: str | None, content: bytes) -> tuple[int, object, object]:
    """What a reply says but for the times it took."""
    if header_length is None:
        document = json.loads(content)
        times = document.get("parameters", {})
        for name in [name for name in times if name.endswith("_us")]:
            assert times.pop(name) >= 0
        return status, document, None
    frame = decode_response(content, parse_header_length(header_length))
    tensors = [(tensor.name, tensor.datatype, tensor.shape, bytes(tensor.data)) for tensor in frame.tensors]
    return status, frame.id, tensors


def test_the_endpoint_says_what_the_server_says(
    bundle: Bundle, endpoint: Endpoint, pictures: list[bytes], digits_server: Server
) -> None:
    asked = requests(bundle, pictures)
    with httpx.Client(base_url=digits_server.url, trust_env=False, timeout=HANG_S) as client:
        for name, request in asked.items():
            there = client.request(request.method, request.path, headers=request.headers, content=request.content)
            here = endpoint.answer(request)
            assert here.status == STATUSES.get(name, 200), (name, here.message)
            assert here.header("content-type") == there.headers["content-type"], name
            assert told(here.status, here.header(HEADER_LENGTH), here.content) == told(
                there.status_code, there.headers.get(HEADER_LENGTH), there.content
            ), name


def test_what_is_too_large_is_refused_alike(bundle: Bundle, serve: Callable[..., Server]) -> None:
    small = Endpoint(bundle, open_engine("openvino", bundle), Limits(request_bytes=1 << 20, sent_bytes=500))
    request = Request("POST", f"{MODEL}/infer", {}, bytes(2 << 20))
    reply = small.answer(request)
    url = serve("digits", "--max-request-mb", "1").url
    there = httpx.post(f"{url}{MODEL}/infer", content=request.content, trust_env=False, timeout=HANG_S)
    assert (reply.status, reply.message) == (there.status_code, there.json()["error"])
    assert reply.status == 413
    assert json.loads(small.answer(Request("GET", MODEL)).content)["parameters"]["max_request_bytes"] == 500


def test_requests_together_get_the_bits_of_each_alone(bundle: Bundle) -> None:
    engine = Counting(open_engine("openvino", bundle))
    endpoint = Endpoint(bundle, engine, Limits(batch=8))
    images = [("c004", 3), ("c010", 2), ("c004", 5), ("c004", 1), ("c004", 9), ("c010", 1)]
    asked = [post(tensors_frame(bundle, cut, images=count), f"{MODEL}/versions/{cut}/infer") for cut, count in images]
    asked.insert(2, Request("GET", f"{MODEL}/versions/c99"))
    alone = [content_of(endpoint.answer(request)) for request in asked]
    engine.batches.clear()
    assert [content_of(reply) for reply in endpoint.answer_all(asked)] == alone
    # 3 and 5 of c004 fill a batch, 1 does not share one with 9; 2 and 1 of c010 do.
    assert engine.batches == [8, 1, 9, 3]
    assert endpoint.answer_all([]) == []


def test_no_more_is_decoded_at_once_than_may_be_held(bundle: Bundle) -> None:
    engine = Counting(open_engine("openvino", bundle))
    image_bytes = codecs.decoded_bytes(bundle.cut("c004").boundary, 1)
    endpoint = Endpoint(bundle, engine, Limits(held_bytes=5 * image_bytes))
    asked = [post(tensors_frame(bundle, images=count)) for count in (2, 3, 1, 9, 4, 1)]
    alone = [content_of(endpoint.answer(request)) for request in asked]
    engine.batches.clear()
    assert [content_of(reply) for reply in endpoint.answer_all(asked)] == alone
    assert engine.batches == [5, 1, 9, 5], "9 images are more than may be held, and wait for none"


def test_threads_may_ask_at_once(bundle: Bundle, endpoint: Endpoint) -> None:
    asked = [post(tensors_frame(bundle, "c006", images=count), f"{MODEL}/versions/c006/infer") for count in range(24)]
    with ThreadPoolExecutor(8) as pool:
        there = list(pool.map(endpoint.answer, asked))
    assert [content_of(reply) for reply in there] == [content_of(endpoint.answer(request)) for request in asked]


def test_an_engine_that_fails_is_a_reply_and_a_trace(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = Endpoint(bundle, Counting(open_engine("openvino", bundle), fails=True))
    replies = endpoint.answer_all([post(tensors_frame(bundle)), Request("GET", MODEL)])
    assert [reply.status for reply in replies] == [500, 200]
    assert replies[0].message == "The server failed: RuntimeError: out of order"
    assert "Traceback" in capsys.readouterr().err


def test_it_starts_without_what_it_does_not_need() -> None:
    """Imports are most of a cold start; and the zip that runs on Lambda has none of these."""
    script = "import sys, inference.endpoint, inference.engines.openvino; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, env={"PATH": ""}
    )
    assert not {"starlette", "httpx", "pyarrow", "pandas", "click", "asyncio", "rich", "boto3"} & set(
        done.stdout.split()
    )


def content_of(reply: Reply) -> object:
    return told(reply.status, reply.header(HEADER_LENGTH), reply.content)


class Counting:
    """The real engine, which keeps the batch sizes of its calls; or fails instead."""

    name = "openvino"

    def __init__(self, engine, fails=False):
        self._engine, self._fails = engine, fails
        self.batches = []

    def compile(self, inputs, outputs):
        segment = self._engine.compile(inputs, outputs)

        def call(tensors):
            self.batches.append(len(tensors[0]))
            if self._fails:
                raise RuntimeError("out of order")
            return segment(tensors)

        return call
