"""The times, waits and bytes of records: their parts add up to the latency."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from hybrid_batch.data.errors import TailUnreachable
from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.log.records import STAGES, WAITS, Record
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import Runtime, open_runtime
from hybrid_batch.inference.protocol.infer_response import InferResponse, ServerTimings
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.runner.batch import Batch, Provenance, to_records
from hybrid_batch.inference.runner.routing import FixedRouter, Route
from hybrid_batch.inference.runner.runner import Concurrency, RunSpec, run_shards
from hybrid_batch.inference.runner.split import CutSplit, LocalSplit, Split, UploadSplit
from hybrid_batch.inference.runner.stages import Stages
from hybrid_batch.inference.tails import Tail
from hybrid_batch.inference.tails.local import LocalTail
from tests.conftest import ROOT

MS = 1_000_000
DIGITS = ROOT / "data" / "digits" / "images"
MADE = Provenance("x", None, "c005", "fp16", "remote")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return resolve_model("digits")


@pytest.fixture(scope="module")
def runtime(bundle: Bundle) -> Runtime:
    return open_runtime("openvino", bundle)


class Clock:
    """A clock that only `advance` moves, in place of `time.perf_counter_ns`."""

    def __init__(self) -> None:
        self.now_ns = 5_000 * MS

    def advance(self, milliseconds: float) -> None:
        self.now_ns += round(milliseconds * MS)

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter_ns", clock)
    return clock


@dataclass
class TimedTail:
    """A tail that takes 12 ms for a batch, 4 of them on the link and 2 in its queue; 100 ms to fail, if it fails."""

    clock: Clock
    near: LocalTail
    fails: bool = False
    max_frame_bytes = None

    def infer(self, cut_id: str, frame: Frame) -> InferResponse:
        if self.fails:
            self.clock.advance(100)
            raise TailUnreachable("no answer")
        response = self.near.infer(cut_id, frame)
        self.clock.advance(12)
        return replace(response, timings=ServerTimings(0, 2_000, 6_000, 8_000), round_trip_us=12_000)


class Fallback(FixedRouter):
    """Keeps the split, and lets failed batches run on this machine."""

    @property
    def fixed_split(self) -> None:  # type: ignore[override]
        return None

    def on_failure(self, batch: Batch, error: Exception) -> None:
        pass

    def session(self, images: int, compile_split: Callable[[Split], None]) -> AbstractContextManager[None]:
        return nullcontext()

    def route(self) -> Route:
        return Route(self.split, self.batch_size)


def classify(clock: Clock, bundle: Bundle, runtime: Runtime, split: Split, tail: object) -> list[Record]:
    """The records of a batch of 4 images that waits 10, 20 and 30 ms before the stages after decode, and spends 8 ms in
    the head."""
    names = find_images(str(DIGITS)).table["image"].to_pylist()[:4]
    router = Fallback(split, 4)
    stages = Stages(bundle, runtime, tail, router, open_storage(str(DIGITS)))  # type: ignore[arg-type]
    stages.compile_split(split)
    batch = Batch(0, names, [None] * 4, [0] * 4, ends_shard=True, split=split)
    segment = stages._segments.get(split.name)

    def slow(inputs: list[np.ndarray]) -> list[np.ndarray]:
        clock.advance(8)
        assert segment is not None
        return segment(inputs)

    stages._segments[split.name] = slow
    stages.decode(batch)
    batch.started_ns = [started - 4 * MS + number * MS for number, started in enumerate(batch.started_ns)]
    batch.decode_ns = 4 * MS
    for stage, wait in ((stages.run_head, 10), (stages.encode, 20), (stages.send, 30)):
        clock.advance(wait)
        stage(batch)
    return to_records(batch, bundle, MADE)


def parts_us(record: Record) -> dict[str, int]:
    return {name: getattr(record, f"{name}_us") for name in (*STAGES[:-1], *WAITS)}


def test_the_waits_of_a_batch_are_measured_before_each_stage(clock, bundle, runtime):
    tail = TimedTail(clock, LocalTail(bundle, runtime))
    records = classify(clock, bundle, runtime, CutSplit(bundle.cut("c005"), "fp16"), tail)
    first = parts_us(records[0])
    assert {name: first[name] for name in ("decode", "head", "link", "queue", "tail")} == {
        "decode": 1_000,
        "head": 2_000,
        "link": 1_000,
        "queue": 500,
        "tail": 1_500,
    }
    assert [first[wait] for wait in WAITS[1:]] == [10_000, 20_000, 30_000]
    assert first["batch_wait"] == 3_000 + 6_000 + 9_000  # of decode, head and the request
    assert [record.batch_wait_us for record in records] == [18_000, 17_000, 16_000, 15_000]
    assert [record.latency_us for record in records] == [84_000, 83_000, 82_000, 81_000]
    assert [sum(parts_us(record).values()) for record in records] == [record.latency_us for record in records]


def test_the_time_of_a_request_that_failed_is_a_wait(clock, bundle, runtime):
    tail = TimedTail(clock, LocalTail(bundle, runtime), fails=True)
    (record, *_) = classify(clock, bundle, runtime, CutSplit(bundle.cut("c005"), "fp16"), tail)
    assert record.send_wait_us == 130_000
    assert record.batch_wait_us == 3_000 + 6_000
    assert sum(parts_us(record).values()) == record.latency_us == 172_000


def test_a_batch_that_ran_locally_waits_for_its_head_only(clock, bundle, runtime):
    tail = TimedTail(clock, LocalTail(bundle, runtime))
    (record, *_) = classify(clock, bundle, runtime, LocalSplit(), tail)
    assert [getattr(record, f"{wait}_us") for wait in WAITS] == [9_000, 10_000, 0, 0]
    assert sum(parts_us(record).values()) == record.latency_us == 22_000


@pytest.mark.parametrize(("split", "batch_size"), [("local", 32), ("cut", 32), ("cut", 1), ("upload", 32)])
def test_the_parts_of_a_real_run_add_up_to_its_latency(tmp_path, bundle, runtime, split, batch_size):
    splits: dict[str, Split] = {
        "local": LocalSplit(),
        "cut": CutSplit(bundle.cut("c005"), "fp16"),
        "upload": UploadSplit("image"),
    }
    records = run(tmp_path, bundle, runtime, splits[split], batch_size, LocalTail(bundle, runtime))
    parts = sum(sum(record[f"{name}_us"] for name in (*STAGES[:-1], *WAITS)) for record in records)
    assert parts == pytest.approx(sum(record["latency_us"] for record in records), rel=0.05)
    assert all(record["width"] == record["height"] == 8 for record in records)


def run(folder: Path, bundle: Bundle, runtime: Runtime, split: Split, batch_size: int, tail: Tail) -> list[dict]:
    found = find_images(str(DIGITS))
    images = ImageSet(found.root, found.table.slice(0, 100))
    log = RunFolder(open_storage(str(folder / "run=one")))
    router = FixedRouter(split, batch_size)
    run_shards(RunSpec(bundle, router, runtime, tail, "local", images, log, 64, Concurrency(4, 2)), lambda _: None)
    return log.records().to_pylist()


def test_bytes_at_the_cut_are_not_bytes_of_a_network(tmp_path, bundle, runtime):
    """The tail in this process needs no network; another tail gets the same request over one."""
    split = CutSplit(bundle.cut("c005"), "fp16")
    near = run(tmp_path / "near", bundle, runtime, split, 32, LocalTail(bundle, runtime))

    class OtherTail:
        max_frame_bytes = None
        infer = staticmethod(LocalTail(bundle, runtime).infer)

    far = run(tmp_path / "far", bundle, runtime, split, 32, OtherTail())  # type: ignore[arg-type]
    assert [record["cut_bytes"] for record in near] == [record["cut_bytes"] for record in far]
    assert min(record["cut_bytes"] for record in near) > 0
    assert {(record["sent_bytes"], record["received_bytes"]) for record in near} == {(0, 0)}
    assert [record["sent_bytes"] for record in far] == [record["cut_bytes"] for record in far]
    assert min(record["received_bytes"] for record in far) > 0


def test_records_name_what_they_are_joined_on(tmp_path, bundle, runtime):
    records = run(tmp_path, bundle, runtime, LocalSplit(), 32, LocalTail(bundle, runtime))
    assert {(record["model"], record["bundle"], record["run_id"]) for record in records} == {
        ("digits", bundle.sha256, "one")
    }
    numbers = [(record["shard"], record["batch_number"], record["batch"]) for record in records]
    assert list(dict.fromkeys(numbers)) == [(0, 0, 32), (0, 1, 32), (1, 0, 32), (1, 1, 4)]
