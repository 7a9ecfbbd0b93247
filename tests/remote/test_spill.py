"""Bodies too large for their way, through a real S3: at the limit and a byte to either side of it."""

import uuid

import boto3
import httpx
import numpy as np
import pytest

from hybrid_batch.data.errors import BadFrame, StorageFailed, TailRefused, WrongUsage
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.spill import SPILL, Spill
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH, Frame, encode_request
from hybrid_batch.inference.serving.executor import BUNDLE
from hybrid_batch.inference.serving.request_handler import Endpoint, Limits
from hybrid_batch.inference.tails import open_tail
from hybrid_batch.inference.tails.aws_lambda import LambdaExchange, lambda_tail
from hybrid_batch.inference.tails.remote import ServedTail
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import HANG_S
from tests.made_functions import make_function
from tests.narrow import Narrow

INFER = "/v2/models/digits/versions/c000/infer"
SMALL = (
    "from hybrid_batch.inference.cloud.function import http_event\nhttp_event.MAX_PAYLOAD_BYTES = 900\n"
    "from hybrid_batch.inference.cloud.function.handler import handle"
)


@pytest.fixture
def versions(bucket):
    """Every object that was ever put into the bucket, deleted since or not."""
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return lambda: [version["Key"] for version in s3.list_object_versions(Bucket=bucket).get("Versions", ())]


def left(bucket: str) -> list[str]:
    return [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", ())]


def frame_of(bundle, picture: bytes, size: int) -> Frame:
    """A picture in a request of exactly so many bytes: what follows the end of a PNG is not read."""
    padding = size - _size(bundle, picture)
    while (off := size - _size(bundle, picture + bytes(padding))) != 0:
        padding += off
    return Frame(codecs.encode_pictures(bundle.input, [picture + bytes(padding)]))


def _size(bundle, picture: bytes) -> int:
    return encode_request(
        Frame(codecs.encode_pictures(bundle.input, [picture]), parameters={BUNDLE: bundle.sha256})
    ).size


@pytest.mark.parametrize(("beyond", "spills"), [(-1, False), (0, False), (1, True)])
def test_lambda_at_the_limit_and_a_byte_to_either_side(bucket, versions, bundle, local, digits, beyond, spills):
    place = f"s3://{bucket}/spill"
    address = f"lambda:{make_function(HYBRID_BATCH_SPILL=place)}"
    frame = Frame(codecs.encode_pictures(bundle.input, [digits[0]]), parameters={BUNDLE: bundle.sha256})
    exchange = LambdaExchange(address)
    room = exchange.room(Request("POST", INFER, encode_request(frame).headers))
    exchange.close()
    frame = frame_of(bundle, digits[0], room + beyond)
    with lambda_tail(address, bundle, TailSettings(spill=place)) as tail:
        tail.check("c000")
        before = len(versions())
        answer = tail.infer("c000", frame)
    assert answer.sent_bytes == room + beyond
    assert np.array_equal(answer.scores, local.infer("c000", frame).scores)
    assert len(versions()) - before == spills
    assert left(bucket) == []


def test_the_header_of_the_room_is_that_of_a_request_of_that_size(bundle, digits):
    """The length of the header has as many digits whatever the picture's size is, or the room would differ."""
    small, large = (encode_request(Frame(codecs.encode_pictures(bundle.input, [bytes(n)]))) for n in (9, 4_700_000))
    assert len(small.headers[HEADER_LENGTH]) == len(large.headers[HEADER_LENGTH])


@pytest.mark.parametrize(("beyond", "spills"), [(-1, False), (0, False), (1, True)])
def test_any_way_at_its_limit_and_a_byte_to_either_side(
    bucket, versions, bundle, engine, local, digits, beyond, spills
):
    spill = Spill(f"s3://{bucket}/a/b")
    narrow = Narrow(Endpoint(bundle, engine, spill=spill), 5000)
    frame = frame_of(bundle, digits[0], 5000 + beyond)
    with ServedTail(narrow, bundle, TailSettings(spill=spill.uri)) as tail:
        answer = tail.infer("c000", frame)
    (request,) = narrow.passed
    assert (request.header(SPILL) is not None) is spills
    assert len(request.content) == (0 if spills else 5000 + beyond)
    assert len(versions()) == spills
    assert left(bucket) == []
    assert np.array_equal(answer.scores, local.infer("c000", frame).scores)
    assert answer.link_us > 0


def test_without_a_place_a_large_request_is_refused_with_its_size(bundle, engine, digits):
    narrow = Narrow(Endpoint(bundle, engine), 5000)
    with (
        ServedTail(narrow, bundle) as tail,
        pytest.raises(TailRefused, match=r"5001 bytes .*narrow way.* 5000; .*--batch-size.*--spill s3://"),
    ):
        tail.infer("c000", frame_of(bundle, digits[0], 5001))
    assert narrow.passed == []


def test_what_a_tail_says_it_takes_is_the_limit_where_the_way_has_none(bundle, engine, digits):
    class Wide(Narrow):
        def room(self, request):
            return None

    wide = Wide(Endpoint(bundle, engine, Limits(sent_bytes=5000)), 1 << 30)
    with ServedTail(wide, bundle) as tail:
        tail.check("c000")
        tail.infer("c000", frame_of(bundle, digits[0], 5000))
        with pytest.raises(TailRefused, match=r"5001 bytes .* 5000"):
            tail.infer("c000", frame_of(bundle, digits[0], 5001))


@pytest.mark.parametrize("large", [False, True])
def test_large_replies_of_lambda_come_through_s3(bucket, versions, bundle, local, digits, large):
    place = f"s3://{bucket}/spill"
    frame = Frame(codecs.encode_pictures(bundle.input, digits[:16] if large else digits[:1]))
    with lambda_tail(
        f"lambda:{make_function(SMALL, HYBRID_BATCH_SPILL=place)}", bundle, TailSettings(spill=place)
    ) as tail:
        answer = tail.infer("c000", frame)
    assert np.array_equal(answer.scores, local.infer("c000", frame).scores)
    assert len(versions()) == large
    assert left(bucket) == []


def test_a_large_reply_is_told_where_there_is_no_place_for_it(bucket, bundle, digits):
    frame = Frame(codecs.encode_pictures(bundle.input, digits[:16]))
    function = f"lambda:{make_function(SMALL, HYBRID_BATCH_SPILL=f's3://{bucket}/spill')}"
    with lambda_tail(function, bundle) as tail, pytest.raises(TailRefused, match=r"lies in S3; .*--spill"):
        tail.infer("c000", frame)
    function = f"lambda:{make_function(SMALL)}"
    with lambda_tail(function, bundle) as tail, pytest.raises(TailRefused, match=r"413.*--spill"):
        tail.infer("c000", frame)


def test_a_large_reply_to_a_large_request_lies_beside_it(bucket, versions, bundle):
    spill = Spill(f"s3://{bucket}/spill")
    with spill.sending(Request("POST", "/", {"A": "b"}, b"question")) as light:
        assert light.content == b""
        arrived = spill.fetch(light, 8)
        assert (arrived.content, arrived.header("a")) == (b"question", "b")
        reply = spill.stow(Reply(200, {"C": "d"}, b"answer"), arrived)
        assert (reply.content, reply.header(SPILL)) == (b"", light.header(SPILL) + ".reply")
        assert len(left(bucket)) == 2
    assert spill.collect(reply, 6).content == b"answer"
    assert left(bucket) == []
    assert len(versions()) == 2


def test_what_a_failing_tail_leaves_is_removed(bucket, versions, bundle, engine, digits):
    class Failing(Narrow):
        def ask(self, request, limit):
            raise TailRefused("no")

    spill = Spill(f"s3://{bucket}/spill")
    with (
        ServedTail(Failing(Endpoint(bundle, engine), 10), bundle, TailSettings(spill=spill.uri)) as tail,
        pytest.raises(TailRefused, match="no"),
    ):
        tail.infer("c000", frame_of(bundle, digits[0], 5000))
    assert len(versions()) == 1
    assert left(bucket) == []


def test_objects_elsewhere_are_not_read(bucket):
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
        with pytest.raises(BadFrame, match="not below"):
            spill.fetch(Request("POST", "/", {SPILL: uri}), 10)
        with pytest.raises(BadFrame, match="not below"):
            spill.collect(Reply(200, {SPILL: uri}), 10)


def test_a_body_that_is_gone_or_too_large_is_told(bucket):
    spill = Spill(f"s3://{bucket}/spill")
    with pytest.raises(BadFrame, match="is gone"):
        spill.fetch(Request("POST", "/", {SPILL: f"{spill.uri}/{uuid.uuid4().hex}"}), 10)
    with spill.sending(Request("POST", "/", {}, bytes(11))) as light, pytest.raises(BadFrame, match="11 bytes"):
        spill.fetch(light, 10)


def test_a_server_reads_what_is_too_large_for_it_from_s3(bucket, versions, bundle, engine, local, digits, serve):
    place = f"s3://{bucket}/spill"
    url = serve("--max-request-mb", "1", "--spill", place).url
    with open_tail(url, bundle, engine, TailSettings(spill=place)) as tail:
        tail.check("c000")
        for beyond, objects in ((0, 0), (1, 1)):
            frame = frame_of(bundle, digits[0], (1 << 20) + beyond)
            assert np.array_equal(tail.infer("c000", frame).scores, local.infer("c000", frame).scores)
            assert len(versions()) == 1 + objects, "one was put there by the check"
    assert left(bucket) == []
    for name, words in ((f"s3://{bucket}/elsewhere/{'0' * 32}", "not below"), (f"{place}/{'0' * 32}", "is gone")):
        reply = httpx.post(f"{url}{INFER}", headers={SPILL: name}, trust_env=False, timeout=HANG_S)
        assert (reply.status_code, words in reply.text) == (400, True)


def test_a_server_without_a_place_says_so(bucket, bundle, engine, server):
    place = f"s3://{bucket}/spill"
    tail = open_tail(server.url, bundle, engine, TailSettings(spill=place))
    with tail, pytest.raises(TailRefused, match="reads no requests from S3"):
        tail.check("c000")
    reply = httpx.post(f"{server.url}{INFER}", headers={SPILL: f"{place}/{'0' * 32}"}, trust_env=False, timeout=HANG_S)
    assert reply.status_code == 400
    assert "No requests are read from S3 here" in reply.json()["error"]


def test_both_sides_must_have_the_same_place(bucket, bundle, engine):
    here = f"s3://{bucket}/here"
    for theirs, words in (
        (None, "leave out --spill"),
        (Spill(f"s3://{bucket}/there"), f"give --spill s3://{bucket}/there"),
    ):
        with (
            ServedTail(Narrow(Endpoint(bundle, engine, spill=theirs), 10), bundle, TailSettings(spill=here)) as tail,
            pytest.raises(TailRefused, match=words),
        ):
            tail.check("c000")


def test_a_place_that_cannot_be_used_is_told_before_images_are_spent(aws, bundle, engine):
    spill = Spill("s3://there-is-no-such-bucket/spill")
    narrow = Narrow(Endpoint(bundle, engine, spill=spill), 10)
    with (
        ServedTail(narrow, bundle, TailSettings(spill=spill.uri)) as tail,
        pytest.raises(StorageFailed, match="there is no bucket"),
    ):
        tail.check("c000")


@pytest.mark.parametrize("uri", ["", "here", "/tmp/x", "s3://", "s3:///x", "https://bucket/x"])  # noqa: S108
def test_what_is_no_place_in_s3(uri):
    with pytest.raises(WrongUsage, match="s3://BUCKET/PREFIX"):
        Spill(uri)
