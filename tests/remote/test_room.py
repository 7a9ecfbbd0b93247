"""Ways that let few bytes pass: what is measured, planned and run over them keeps within."""

from dataclasses import replace

import pytest

from hybrid_batch.data.images.images import Images, find_images
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.inference.planner.adapt.adaptive_router import Follower
from hybrid_batch.inference.planner.plan.candidates import list_candidates
from hybrid_batch.inference.planner.plan.plan import Wishes
from hybrid_batch.inference.planner.plan.prices import read_prices
from hybrid_batch.inference.planner.profile.profile_store import measure, open_profile
from hybrid_batch.inference.planner.profile.sample import take_sample
from hybrid_batch.inference.planner.profile.target import Subject
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.wire import Frame, encode_request
from hybrid_batch.inference.runner.runner import Job, Pace, run_shards
from hybrid_batch.inference.runner.split import HERE
from hybrid_batch.inference.serving.request_handler import Endpoint, Limits
from hybrid_batch.inference.tails.remote import ServedTail
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import HANG_S, ROOT
from tests.narrow import Narrow
from tests.planner.made_profiles import chain, profile_of, scaled

IMAGES = ROOT / "data" / "digits" / "images"


def test_a_tail_tells_the_room_of_its_way_or_its_own(aws, bundle, engine):
    narrow = Narrow(Endpoint(bundle, engine), 5000)
    with ServedTail(narrow, bundle) as tail:
        assert tail.room == 5000
    with ServedTail(narrow, bundle, TailSettings(spill="s3://bucket/spill")) as tail:
        assert tail.room is None
    narrow = Narrow(Endpoint(bundle, engine, Limits(sent_bytes=700)), None)
    with ServedTail(narrow, bundle) as tail:
        assert tail.room is None
        tail.check("c000")
        assert tail.room == 700


def test_it_is_measured_within_its_room(bundle, engine, local, tmp_path, monkeypatch):
    """Narrow fails at what is too large; without room 1 MiB is sent to find the rate of a fast link."""
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    narrow = Narrow(Endpoint(bundle, engine), 60_000)
    with ServedTail(narrow, bundle) as tail:
        subject = Subject(bundle, engine, tail, "narrow", 8)
        profile = measure(subject, take_sample(bundle.preparation), budget_s=0)
        assert profile.tail.room == 60_000
        narrow.width = 50_000
        open_profile(subject, lambda _: None, budget_s=0)
        assert open_profile(subject, lambda _: None, budget_s=0).tail.room == 50_000
    assert max(len(request.content) for request in narrow.passed) > 10_000


def test_plans_keep_within_the_room():
    bundle, profile = chain((800, 200), (50, 900)), profile_of(1000, 400, 1e9, picture_bytes=3000)

    def list_all(room):
        found = list_candidates(
            bundle, replace(profile, tail=replace(profile.tail, room=room)), ("fp16",), 4, read_prices()
        )
        return {(one.split.name, one.codec, one.batch) for one in found if one.cut}

    assert ("c001", "fp16", 32) in list_all(None)
    # 8 times 800 fp16 are 12,800 bytes, 8 pictures 24,000.
    assert list_all(16_100) == {
        *((cut, "fp16", batch) for cut in ("c000", "c001") for batch in (1,)),
        ("c001", "fp16", 8),
        ("c000", "image", 1),
        *(("c002", "fp16", batch) for batch in (1, 8, 32)),
    }


@pytest.mark.parametrize("room", [300, None])
def test_what_is_too_large_for_the_way_is_done_here(bundle, engine, tmp_path, monkeypatch, room):
    """The plan was made for a way without limit, and is not made again."""
    monkeypatch.setattr("hybrid_batch.inference.planner.adapt.adaptive_router._TICK_S", HANG_S)
    found = find_images(str(IMAGES / "0"))
    images = Images(found.root, label_images(found.table, "none", bundle.labels).table)
    folder = RunFolder(open_storage(str(tmp_path / "run=x")))
    said: list[str] = []
    with ServedTail(Narrow(Endpoint(bundle, engine), room), bundle) as tail:
        profile = scaled(profile_of(50_000, 100, 1e9), bundle)
        follower = Follower(bundle, profile, Wishes(min_cut="c003"), tail, said.append)
        assert follower.plan.chosen.cut is not None
        run_shards(Job(bundle, HERE, engine, tail, "far", images, folder, 40, Pace(8), follower), lambda _: None)
    records = [record for shard in folder.parts() for record in folder.read_part(shard).to_pylist()]
    assert len(records) == found.table.num_rows
    assert all(record["prediction"] and record["error"] is None for record in records)
    if room:
        assert {(record["tail"], record["sent_bytes"]) for record in records} == {("local", 0)}
        assert said == [], "the tail is not away"
    else:
        assert "far" in {record["tail"] for record in records}


def test_the_room_leaves_space_for_the_longest_header(aws, bundle, digits):
    """The room is told before the header is known, whose length is written in another header."""
    from hybrid_batch.inference.protocol.transport import Request
    from hybrid_batch.inference.tails.aws_lambda import LambdaExchange, lambda_tail

    body = encode_request(Frame(codecs.encode_pictures(bundle.input, digits)))
    request = Request("POST", "/v2/models/digits/versions/c000/infer", body.headers)
    exchange = LambdaExchange("lambda:x")
    with lambda_tail("lambda:x", bundle) as tail:
        assert 0 <= exchange.room(request) - tail.room <= 6
    exchange.close()
