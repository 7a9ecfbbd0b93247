"""Bodies that exceed a transport's limit, through a real S3: at the limit and a byte to either side."""

import uuid

import boto3
import httpx
import numpy as np
import pytest

from hybrid_batch.data.errors import InvalidFrame, StorageFailed, TailRefused, WrongUsage
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.spill import SPILL_HEADER, Spill
from hybrid_batch.inference.protocol.trace_context import TRACEPARENT, make_traceparent
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import BUNDLE, HEADER_LENGTH, Frame, encode_request
from hybrid_batch.inference.serving.request_handler import Limits, RequestHandler
from hybrid_batch.inference.tails import open_tail
from hybrid_batch.inference.tails.aws_lambda import LambdaTransport, open_lambda_tail
from hybrid_batch.inference.tails.remote import RemoteTail
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import HANG_S
from tests.factories.functions import make_function
from tests.size_limited_transport import SizeLimitedTransport

INFER = "/v2/models/digits/versions/c000/infer"
SMALL = (
    "from hybrid_batch.inference.cloud.function import http_event\nhttp_event.MAX_PAYLOAD_BYTES = 900\n"
    "from hybrid_batch.inference.cloud.function.handler import handle"
)


@pytest.fixture
def versions(bucket):
    """The keys of all objects that were ever written to the bucket, including deleted ones."""
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return lambda: [version["Key"] for version in s3.list_object_versions(Bucket=bucket).get("Versions", ())]


def left(bucket: str) -> list[str]:
    return [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", ())]


def frame_of(bundle, image: bytes, size: int) -> Frame:
    """An image in a request of exactly `size` bytes; decoders ignore bytes after the end of a PNG."""
    padding = size - _size(bundle, image)
    while (off := size - _size(bundle, image + bytes(padding))) != 0:
        padding += off
    return Frame(wire_tensors.encode_images(bundle.input, [image + bytes(padding)]))


def _size(bundle, image: bytes) -> int:
    return encode_request(
        Frame(wire_tensors.encode_images(bundle.input, [image]), parameters={BUNDLE: bundle.sha256})
    ).size


@pytest.mark.parametrize(("excess", "spills"), [(-1, False), (0, False), (1, True)])
def test_lambda_at_the_limit_and_a_byte_to_either_side(bucket, versions, bundle, local, digits, excess, spills):
    prefix = f"s3://{bucket}/spill"
    address = f"lambda:{make_function(HYBRID_BATCH_SPILL=prefix)}"
    frame = Frame(wire_tensors.encode_images(bundle.input, [digits[0]]), parameters={BUNDLE: bundle.sha256})
    exchange = LambdaTransport(address)
    headers = {**encode_request(frame).headers, TRACEPARENT: make_traceparent()}
    max_bytes = exchange.max_content_bytes(Request("POST", INFER, headers))
    exchange.close()
    frame = frame_of(bundle, digits[0], max_bytes + excess)
    with open_lambda_tail(address, bundle, TailSettings(spill=prefix)) as tail:
        tail.check("c000")
        before = len(versions())
        answer = tail.infer("c000", frame)
    assert answer.sent_bytes == max_bytes + excess
    assert np.array_equal(answer.scores, local.infer("c000", frame).scores)
    assert len(versions()) - before == spills
    assert left(bucket) == []


def test_the_header_length_has_as_many_digits_for_every_size(bundle, digits):
    """Otherwise the maximum content would depend on the size of the image."""
    small, large = (encode_request(Frame(wire_tensors.encode_images(bundle.input, [bytes(n)]))) for n in (9, 4_700_000))
    assert len(small.headers[HEADER_LENGTH]) == len(large.headers[HEADER_LENGTH])


@pytest.mark.parametrize(("excess", "spills"), [(-1, False), (0, False), (1, True)])
def test_any_transport_at_its_limit_and_a_byte_to_either_side(
    bucket, versions, bundle, runtime, local, digits, excess, spills
):
    spill = Spill(f"s3://{bucket}/a/b")
    transport = SizeLimitedTransport(RequestHandler(bundle, runtime, spill=spill), 5000)
    frame = frame_of(bundle, digits[0], 5000 + excess)
    with RemoteTail(transport, bundle, TailSettings(spill=spill.uri)) as tail:
        answer = tail.infer("c000", frame)
    (request,) = transport.sent
    assert (request.header(SPILL_HEADER) is not None) is spills
    assert len(request.content) == (0 if spills else 5000 + excess)
    assert len(versions()) == spills
    assert left(bucket) == []
    assert np.array_equal(answer.scores, local.infer("c000", frame).scores)
    assert answer.link_us > 0


def test_a_large_request_without_a_prefix_is_refused_with_its_size(bundle, runtime, digits):
    transport = SizeLimitedTransport(RequestHandler(bundle, runtime), 5000)
    with (
        RemoteTail(transport, bundle) as tail,
        pytest.raises(TailRefused, match=r"5001 bytes exceeds the 5000 .*; .*--batch-size.*--spill s3://"),
    ):
        tail.infer("c000", frame_of(bundle, digits[0], 5001))
    assert transport.sent == []


def test_the_limit_that_a_tail_announces_applies_if_the_transport_has_none(bundle, runtime, digits):
    class Wide(SizeLimitedTransport):
        def max_content_bytes(self, request):
            return None

    wide = Wide(RequestHandler(bundle, runtime, Limits(announced_bytes=5000)), 1 << 30)
    with RemoteTail(wide, bundle) as tail:
        tail.check("c000")
        tail.infer("c000", frame_of(bundle, digits[0], 5000))
        with pytest.raises(TailRefused, match=r"5001 bytes exceeds the 5000 "):
            tail.infer("c000", frame_of(bundle, digits[0], 5001))


@pytest.mark.parametrize("large", [False, True])
def test_large_replies_of_lambda_are_sent_through_s3(bucket, versions, bundle, local, digits, large):
    prefix = f"s3://{bucket}/spill"
    frame = Frame(wire_tensors.encode_images(bundle.input, digits[:16] if large else digits[:1]))
    with open_lambda_tail(
        f"lambda:{make_function(SMALL, HYBRID_BATCH_SPILL=prefix)}", bundle, TailSettings(spill=prefix)
    ) as tail:
        answer = tail.infer("c000", frame)
    assert np.array_equal(answer.scores, local.infer("c000", frame).scores)
    assert len(versions()) == large
    assert left(bucket) == []


def test_a_large_reply_without_a_prefix_is_reported(bucket, bundle, digits):
    frame = Frame(wire_tensors.encode_images(bundle.input, digits[:16]))
    function = f"lambda:{make_function(SMALL, HYBRID_BATCH_SPILL=f's3://{bucket}/spill')}"
    with (
        open_lambda_tail(function, bundle) as tail,
        pytest.raises(TailRefused, match=r"stored an oversized reply in S3; .*--spill"),
    ):
        tail.infer("c000", frame)
    function = f"lambda:{make_function(SMALL)}"
    with open_lambda_tail(function, bundle) as tail, pytest.raises(TailRefused, match=r"413.*--spill"):
        tail.infer("c000", frame)


def test_a_large_reply_to_a_large_request_is_stored_beside_it(bucket, versions, bundle):
    spill = Spill(f"s3://{bucket}/spill")
    with spill.put_request(Request("POST", "/", {"A": "b"}, b"question")) as light:
        assert light.content == b""
        arrived = spill.read_request(light, 8)
        assert (arrived.content, arrived.header("a")) == (b"question", "b")
        reply = spill.put_reply(Reply(200, {"C": "d"}, b"answer"), arrived)
        assert (reply.content, reply.header(SPILL_HEADER)) == (b"", light.header(SPILL_HEADER) + ".reply")
        assert len(left(bucket)) == 2
    assert spill.take_reply(reply, 6).content == b"answer"
    assert left(bucket) == []
    assert len(versions()) == 2


def test_the_object_of_a_failed_request_is_removed(bucket, versions, bundle, runtime, digits):
    class Failing(SizeLimitedTransport):
        def send(self, request, limit):
            raise TailRefused("no")

    spill = Spill(f"s3://{bucket}/spill")
    with (
        RemoteTail(Failing(RequestHandler(bundle, runtime), 10), bundle, TailSettings(spill=spill.uri)) as tail,
        pytest.raises(TailRefused, match="no"),
    ):
        tail.infer("c000", frame_of(bundle, digits[0], 5000))
    assert len(versions()) == 1
    assert left(bucket) == []


def test_objects_outside_the_prefix_are_not_read(bucket):
    boto3.client("s3").put_object(Bucket=bucket, Key="spill/secret", Body=b"x")
    other, name = uuid.uuid4().hex, uuid.uuid4().hex
    boto3.client("s3").put_object(Bucket=bucket, Key=f"other/{name}", Body=b"x")
    spill = Spill(f"s3://{bucket}/spill")
    for uri in (
        f"s3://{bucket}/spill/secret",
        f"s3://{bucket}/other/{name}",
        f"s3://{bucket}/spill/../other/{name}",
        f"s3://{bucket}/spill/{other}/../{name}",
        f"s3://{other}/spill/{name}",
        f"s3://{bucket}/spill{name}",
        f"/spill/{name}",
        name,
        "",
        "file:///etc/passwd",
    ):
        with pytest.raises(InvalidFrame, match="not below"):
            spill.read_request(Request("POST", "/", {SPILL_HEADER: uri}), 10)
        with pytest.raises(InvalidFrame, match="not below"):
            spill.take_reply(Reply(200, {SPILL_HEADER: uri}), 10)


def test_a_body_that_is_gone_or_too_large_is_reported(bucket):
    spill = Spill(f"s3://{bucket}/spill")
    with pytest.raises(InvalidFrame, match="is gone"):
        spill.read_request(Request("POST", "/", {SPILL_HEADER: f"{spill.uri}/{uuid.uuid4().hex}"}), 10)
    with spill.put_request(Request("POST", "/", {}, bytes(11))) as light, pytest.raises(InvalidFrame, match="11 bytes"):
        spill.read_request(light, 10)


def test_a_server_reads_large_requests_from_s3(bucket, versions, bundle, runtime, local, digits, serve):
    prefix = f"s3://{bucket}/spill"
    url = serve("--max-request-mb", "1", "--spill", prefix).url
    with open_tail(url, bundle, runtime, TailSettings(spill=prefix)) as tail:
        tail.check("c000")
        for excess, objects in ((0, 0), (1, 1)):
            frame = frame_of(bundle, digits[0], (1 << 20) + excess)
            assert np.array_equal(tail.infer("c000", frame).scores, local.infer("c000", frame).scores)
            assert len(versions()) == 1 + objects, "the check wrote one object"
    assert left(bucket) == []
    for name, message in ((f"s3://{bucket}/elsewhere/{'0' * 32}", "not below"), (f"{prefix}/{'0' * 32}", "is gone")):
        reply = httpx.post(f"{url}{INFER}", headers={SPILL_HEADER: name}, trust_env=False, timeout=HANG_S)
        assert (reply.status_code, message in reply.text) == (400, True)


def test_a_server_without_a_prefix_refuses_spilled_requests(bucket, bundle, runtime, server):
    prefix = f"s3://{bucket}/spill"
    tail = open_tail(server.url, bundle, runtime, TailSettings(spill=prefix))
    with tail, pytest.raises(TailRefused, match="reads no requests from S3"):
        tail.check("c000")
    reply = httpx.post(
        f"{server.url}{INFER}", headers={SPILL_HEADER: f"{prefix}/{'0' * 32}"}, trust_env=False, timeout=HANG_S
    )
    assert reply.status_code == 400
    assert "This tail reads no requests from S3" in reply.json()["error"]


def test_client_and_tail_must_have_the_same_prefix(bucket, bundle, runtime):
    own = f"s3://{bucket}/own"
    for other, message in (
        (None, "leave out --spill"),
        (Spill(f"s3://{bucket}/other"), f"give --spill s3://{bucket}/other"),
    ):
        with (
            RemoteTail(
                SizeLimitedTransport(RequestHandler(bundle, runtime, spill=other), 10),
                bundle,
                TailSettings(spill=own),
            ) as tail,
            pytest.raises(TailRefused, match=message),
        ):
            tail.check("c000")


def test_an_unusable_prefix_is_reported_before_images_are_sent(aws, bundle, runtime):
    spill = Spill("s3://other-is-no-such-bucket/spill")
    transport = SizeLimitedTransport(RequestHandler(bundle, runtime, spill=spill), 10)
    with (
        RemoteTail(transport, bundle, TailSettings(spill=spill.uri)) as tail,
        pytest.raises(StorageFailed, match=r"bucket .* does not exist"),
    ):
        tail.check("c000")


@pytest.mark.parametrize("uri", ["", "prefix", "/tmp/x", "s3://", "s3:///x", "https://bucket/x"])  # noqa: S108
def test_a_malformed_prefix(uri):
    with pytest.raises(WrongUsage, match="s3://BUCKET/PREFIX"):
        Spill(uri)
