"""Transports with a size limit: profiles, plans and runs keep within it."""

from dataclasses import replace

import pytest

from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.planner.adapt.adaptive_router import AdaptiveRouter
from hybrid_batch.inference.planner.plan.cost_model import CostModel
from hybrid_batch.inference.planner.plan.plan import PlanRequest
from hybrid_batch.inference.planner.plan.prices import read_prices
from hybrid_batch.inference.planner.profile.profile_store import measure_profile, open_profile
from hybrid_batch.inference.planner.profile.sample import take_sample
from hybrid_batch.inference.planner.profile.target import ProfileTarget
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.wire import Frame, encode_request
from hybrid_batch.inference.runner.runner import RunSpec, run_shards
from hybrid_batch.inference.serving.request_handler import Limits, RequestHandler
from hybrid_batch.inference.tails.remote import RemoteTail
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import HANG_S, ROOT
from tests.factories.profiles import chain, profile_of, scaled
from tests.size_limited_transport import SizeLimitedTransport

pytestmark = pytest.mark.slow

IMAGES = ROOT / "data" / "digits" / "images"


def test_max_frame_bytes_is_the_limit_of_the_transport_or_of_the_tail(aws, bundle, runtime):
    transport = SizeLimitedTransport(RequestHandler(bundle, runtime), 5000)
    with RemoteTail(transport, bundle) as tail:
        assert tail.max_frame_bytes == 5000
    with RemoteTail(transport, bundle, TailSettings(spill="s3://bucket/spill")) as tail:
        assert tail.max_frame_bytes is None
    transport = SizeLimitedTransport(RequestHandler(bundle, runtime, Limits(announced_bytes=700)), None)
    with RemoteTail(transport, bundle) as tail:
        assert tail.max_frame_bytes is None
        tail.check("c000")
        assert tail.max_frame_bytes == 700


def test_profiling_keeps_within_the_limit(bundle, runtime, local, tmp_path, monkeypatch):
    """The transport fails if a request exceeds its limit. Without a limit, profiling a fast link sends 1 MiB."""
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    transport = SizeLimitedTransport(RequestHandler(bundle, runtime), 60_000)
    with RemoteTail(transport, bundle) as tail:
        subject = ProfileTarget(bundle, runtime, tail, "transport", 8)
        profile = measure_profile(subject, take_sample(bundle.preprocessing), budget_s=0)
        assert profile.tail.max_frame_bytes == 60_000
        transport.max_bytes = 50_000
        open_profile(subject, lambda _: None, budget_s=0)
        assert open_profile(subject, lambda _: None, budget_s=0).tail.max_frame_bytes == 50_000
    assert max(len(request.content) for request in transport.sent) > 10_000


def test_plans_keep_within_the_limit():
    bundle, profile = chain((800, 200), (50, 900)), profile_of(1000, 400, 1e9, image_bytes=3000)

    def list_all(max_bytes):
        transport = replace(profile, tail=replace(profile.tail, max_frame_bytes=max_bytes))
        found = CostModel(bundle, transport, read_prices(), in_flight=4).list_candidates(("fp16",))
        return {(one.split.name, one.codec, one.batch) for one in found if one.cut}

    assert ("c001", "fp16", 32) in list_all(None)
    # 8 times 800 fp16 are 12,800 bytes, 8 images 24,000.
    assert list_all(16_100) == {
        *((cut, "fp16", batch) for cut in ("c000", "c001") for batch in (1,)),
        ("c001", "fp16", 8),
        ("c000", "image", 1),
        *(("c002", "fp16", batch) for batch in (1, 8, 32)),
    }


@pytest.mark.parametrize("max_bytes", [300, None])
def test_oversized_frames_are_computed_locally(bundle, runtime, tmp_path, monkeypatch, max_bytes):
    """The plan was made without a limit, and is not made again."""
    monkeypatch.setattr("hybrid_batch.inference.planner.adapt.adaptive_router._TICK_S", HANG_S)
    found = find_images(str(IMAGES / "0"))
    images = ImageSet(found.root, label_images(found.table, "none", bundle.labels).table)
    folder = RunFolder(open_storage(str(tmp_path / "run=x")))
    said: list[str] = []
    with RemoteTail(SizeLimitedTransport(RequestHandler(bundle, runtime), max_bytes), bundle) as tail:
        profile = scaled(profile_of(50_000, 100, 1e9), bundle)
        follower = AdaptiveRouter(bundle, profile, PlanRequest(earliest_cut="c003"), tail, said.append)
        assert follower.plan.chosen.cut is not None
        run_shards(RunSpec(bundle, follower, runtime, tail, "far", images, folder, 40), lambda _: None)
    records = [record for shard in folder.parts() for record in folder.read_part(shard).to_pylist()]
    assert len(records) == found.table.num_rows
    assert all(record["prediction"] and record["error"] is None for record in records)
    if max_bytes:
        assert {(record["tail"], record["sent_bytes"]) for record in records} == {("local", 0)}
        assert said == [], "the tail is reachable"
    else:
        assert "far" in {record["tail"] for record in records}


def test_the_limit_leaves_space_for_the_longest_header(aws, bundle, digits):
    """The limit is computed before the header is known, whose length is the value of another header."""
    from hybrid_batch.inference.protocol.trace_context import TRACEPARENT, make_traceparent
    from hybrid_batch.inference.protocol.transport import Request
    from hybrid_batch.inference.tails.aws_lambda import LambdaTransport, open_lambda_tail

    body = encode_request(Frame(wire_tensors.encode_images(bundle.input, digits)))
    headers = {**body.headers, TRACEPARENT: make_traceparent()}
    request = Request("POST", "/v2/models/digits/versions/c000/infer", headers)
    transport = LambdaTransport("lambda:x")
    with open_lambda_tail("lambda:x", bundle) as tail:
        assert 0 <= transport.max_content_bytes(request) - tail.max_frame_bytes <= 6
    transport.close()
