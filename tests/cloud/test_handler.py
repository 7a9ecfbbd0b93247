"""The Lambda function, called with events as Lambda passes them."""

import hashlib
import json
from base64 import b64decode, b64encode
from pathlib import Path

import boto3
import numpy as np
import pytest

from hybrid_batch.data.errors import CutNotFound, InvalidFrame, NotABundle, WrongUsage
from hybrid_batch.inference.cloud.function import http_event as http
from hybrid_batch.inference.cloud.function import s3_event
from hybrid_batch.inference.cloud.function.authorizer import TOKEN_SHA256, authorize
from hybrid_batch.inference.cloud.function.http_event import (
    MAX_BODY_BYTES,
    MAX_PAYLOAD_BYTES,
    decode_event,
    encode_result,
    result_bytes,
)
from hybrid_batch.inference.cloud.function.lambda_app import LambdaApp
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH, resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.infer_response import decode_scores
from hybrid_batch.inference.protocol.spill import SPILL_HEADER, Spill
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import (
    HEADER_LENGTH,
    Frame,
    decode_response,
    encode_request,
    parse_header_length,
)
from hybrid_batch.inference.tails.local import LocalTail
from tests.conftest import ROOT

INFER = "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return resolve_model("digits")


@pytest.fixture(scope="module")
def local(bundle: Bundle) -> LocalTail:
    return LocalTail(bundle, open_runtime("openvino", bundle))


@pytest.fixture(scope="module")
def function() -> LambdaApp:
    return LambdaApp.from_environment({"HYBRID_BATCH_BUNDLE": str(BUILT_IN_PATH), "HYBRID_BATCH_CUTS": "c000, c004"})


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "data/digits/images").rglob("*.png"))[::40]]


def event_of(request: Request) -> dict:
    """An event as API Gateway sends it."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": "",
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "requestContext": {"http": {"method": request.method, "path": request.path}, "stage": "$default"},
        "body": b64encode(request.content).decode(),
        "isBase64Encoded": True,
    }


def post(frame: Frame, path: str = INFER) -> Request:
    body = encode_request(frame)
    return Request("POST", path, body.headers, body.join())


def reply_of(result: dict) -> Reply:
    assert result["isBase64Encoded"] is True
    json.dumps(result)
    return Reply(result["statusCode"], result["headers"], b64decode(result["body"], validate=True))


def scores_of(bundle: Bundle, batch: int, reply: Reply) -> np.ndarray:
    assert reply.status == 200, reply.message
    frame = decode_response(reply.content, parse_header_length(reply.header(HEADER_LENGTH)))
    return decode_scores(bundle.output, batch, frame)[0]


def test_a_request_gets_the_scores_of_the_local_tail(
    function: LambdaApp, bundle: Bundle, local: LocalTail, images: list[bytes]
) -> None:
    frame = Frame(wire_tensors.encode_images(bundle.input, images))
    reply = reply_of(function.handle(event_of(post(frame))))
    np.testing.assert_array_equal(scores_of(bundle, len(images), reply), local.infer("c000", frame).scores)


def test_metadata_announce_the_largest_request(function: LambdaApp, bundle: Bundle) -> None:
    reply = reply_of(function.handle(event_of(Request("GET", "/v2/models/digits"))))
    parameters = json.loads(reply.content)["parameters"]
    assert (parameters["sha256"], parameters["max_request_bytes"]) == (bundle.sha256, MAX_BODY_BYTES)


def test_the_largest_announced_body_fits_with_the_fields_of_a_gateway() -> None:
    event = event_of(Request("POST", INFER, {f"header-{n}": "x" * 1000 for n in range(10)}, bytes(MAX_BODY_BYTES)))
    event["requestContext"]["authorizer"] = {"jwt": "x" * 10_000}
    assert 0 <= MAX_PAYLOAD_BYTES - len(json.dumps(event)) < 16_384


@pytest.mark.parametrize("stage", ["", "/prod", "/prod/tails"])
def test_the_stage_in_the_path_is_ignored(function: LambdaApp, stage: str) -> None:
    event = event_of(Request("GET", f"{stage}/v2/health/live"))
    assert reply_of(function.handle(event)).content == b'{"live":true}'


def test_text_bodies_are_accepted(function: LambdaApp, bundle: Bundle) -> None:
    tensor = {"name": bundle.input.name, "datatype": "FP32", "shape": [1, 8, 8, 1], "data": [0.5] * 64}
    event = event_of(Request("POST", INFER)) | {"body": json.dumps({"inputs": [tensor]}), "isBase64Encoded": False}
    reply = reply_of(function.handle(event))
    assert (reply.status, len(json.loads(reply.content)["outputs"][0]["data"])) == (200, 10)


@pytest.mark.parametrize(
    "change",
    [
        {"body": "no base64!"},
        {"body": 7},
        {"rawPath": None},
        {"headers": ["x"]},
        {"requestContext": {}},
        {"requestContext": None},
    ],
)
def test_an_invalid_event_is_400(function: LambdaApp, change: dict) -> None:
    reply = reply_of(function.handle(event_of(Request("GET", "/v2")) | change))
    assert (reply.status, "payload format 2.0" in reply.message) == (400, True)


@pytest.mark.parametrize(
    "event", [{}, {"Records": []}, {"Records": [{"eventSource": "aws:sqs"}]}, None, [1], {"version": "1.0"}]
)
def test_other_events_are_one_sentence(function: LambdaApp, event: object) -> None:
    with pytest.raises(WrongUsage, match=r"^This function handles .*, not .*; use it as the tail"):
        function.handle(event)


def test_the_size_of_a_result_is_exact() -> None:
    for size in (0, 1, 2, 3, 1000):
        reply = Reply(200, {"Content-Type": "a/b", HEADER_LENGTH: "7"}, b"x" * size)
        assert result_bytes(reply) == len(json.dumps(encode_result(reply)))


def limit_to(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(http, "MAX_PAYLOAD_BYTES", size)


def test_a_reply_above_the_limit_of_lambda(
    function: LambdaApp, bundle: Bundle, images: list[bytes], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit it is sent; one byte above it is spilled to S3, and without a spill refused."""
    request = post(Frame(wire_tensors.encode_images(bundle.input, images)))
    size = result_bytes(reply_of(function.handle(event_of(request))))
    spill = Spill(f"s3://{bucket}/spill")
    spilling = LambdaApp(BUILT_IN_PATH, [], spill.uri)
    limit_to(monkeypatch, size)
    for allowed in (function, spilling):
        whole = reply_of(allowed.handle(event_of(request)))
        assert (whole.status, whole.header(SPILL_HEADER)) == (200, None)
    limit_to(monkeypatch, size - 1)
    refused = reply_of(function.handle(event_of(request)))
    assert (refused.status, f"has {size} bytes" in refused.message, "--spill" in refused.message) == (413, True, True)
    spilled = reply_of(spilling.handle(event_of(request)))
    assert (spilled.status, spilled.content) == (200, b"")
    np.testing.assert_array_equal(
        scores_of(bundle, len(images), spill.take_reply(spilled, 1 << 20)), scores_of(bundle, len(images), whole)
    )


def test_a_request_whose_body_is_in_s3(
    function: LambdaApp, bundle: Bundle, local: LocalTail, images: list[bytes], bucket: str
) -> None:
    spill = Spill(f"s3://{bucket}/spill")
    frame = Frame(wire_tensors.encode_images(bundle.input, images))
    with spill.put_request(post(frame)) as request:
        assert request.content == b""
        reply = reply_of(LambdaApp(BUILT_IN_PATH, [], spill.uri).handle(event_of(request)))
        refused = reply_of(function.handle(event_of(request)))
        foreign = reply_of(LambdaApp(BUILT_IN_PATH, [], f"s3://{bucket}/other").handle(event_of(request)))
    np.testing.assert_array_equal(scores_of(bundle, len(images), reply), local.infer("c000", frame).scores)
    assert (refused.status, "start it with --spill" in refused.message) == (400, True)
    assert (foreign.status, f"s3://{bucket}/spill/" in foreign.message) == (400, True)


def put_event(bucket: str, *keys: str) -> dict:
    """An event as S3 sends it, with keys encoded as in a form."""
    from urllib.parse import quote_plus

    return {
        "Records": [
            {"eventSource": "aws:s3", "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/")}}}
            for key in keys
        ]
    }


def test_images_uploaded_to_s3_get_replies_in_s3(
    function: LambdaApp, bundle: Bundle, local: LocalTail, images: list[bytes], bucket: str
) -> None:
    s3 = boto3.client("s3")
    sent = {"tail one/in/0a/7 +é": images[0], "in/b": b"not an image", "in/gone": None}
    for key, content in sent.items():
        if content is not None:
            s3.put_object(Bucket=bucket, Key=key, Body=content)
    replies = function.handle(put_event(bucket, *sent))["replies"]
    assert replies == ["tail one/out/0a/7 +é", "out/b"]
    for key, content in zip(replies, sent.values(), strict=False):
        stored = s3.get_object(Bucket=bucket, Key=key)
        assert stored["Metadata"]["status"] == "200"
        frame = decode_response(stored["Body"].read(), int(stored["Metadata"]["inference-header-content-length"]))
        request = Frame(wire_tensors.encode_images(bundle.input, [content]))
        scores, errors = decode_scores(bundle.output, 1, frame)
        expected = local.infer("c000", request)
        np.testing.assert_array_equal(scores, expected.scores)
        assert errors == expected.errors


@pytest.mark.parametrize("key", ["out/b", "b", "in/", "prefix/out/in"])
def test_keys_whose_replies_could_trigger_the_function_are_refused(function: LambdaApp, key: str) -> None:
    with pytest.raises(InvalidFrame, match="trigger this function for PREFIX/in/ only"):
        function.handle(put_event("any", key))


def test_an_image_that_is_too_large_is_413(function: LambdaApp, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key="in/large", Body=bytes(1001))
    monkeypatch.setattr(s3_event, "MAX_REQUEST_BYTES", 1000)
    function.handle(put_event(bucket, "in/large"))
    stored = boto3.client("s3").get_object(Bucket=bucket, Key="out/large")
    assert stored["Metadata"] == {"status": "413"}
    assert "1001 bytes" in json.loads(stored["Body"].read())["error"]


def test_a_missing_bundle_or_cut_fails_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(NotABundle):
        LambdaApp.from_environment({"HYBRID_BATCH_BUNDLE": str(tmp_path)})
    with pytest.raises(CutNotFound):
        LambdaApp.from_environment({"HYBRID_BATCH_BUNDLE": str(BUILT_IN_PATH), "HYBRID_BATCH_CUTS": "c99"})


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({"authorization": "Bearer right"}, True),
        ({"Authorization": "bearer right "}, True),
        ({"authorization": "Bearer wrong"}, False),
        ({"authorization": "right"}, False),
        ({"authorization": "Bearer "}, False),
        ({"authorization": "Bearer \ud800"}, False),
        ({"x": "Bearer right"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_only_the_token_is_accepted(headers: dict | None, accepted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_SHA256, hashlib.sha256(b"right").hexdigest().upper())
    assert authorize({"version": "2.0", "headers": headers}, None) == {"isAuthorized": accepted}


def test_without_a_token_no_request_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_SHA256, raising=False)
    with pytest.raises(KeyError):
        authorize({"headers": {"authorization": "Bearer right"}}, None)
    monkeypatch.setenv(TOKEN_SHA256, hashlib.sha256(b"").hexdigest())
    assert authorize({"headers": {"authorization": "Bearer "}}, None) == {"isAuthorized": False}


def test_a_decoded_event_equals_its_request() -> None:
    request = Request("POST", INFER, {"a": "b"}, b"\0\xff")
    assert decode_event(event_of(request)) == request
