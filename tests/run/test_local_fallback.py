"""Batches that run on this machine: the split is local, the router keeps them, or the tail cannot compute them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hybrid_batch.data.errors import TailUnreachable
from hybrid_batch.data.images.images import find_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import Runtime, open_runtime
from hybrid_batch.inference.protocol.infer_response import InferResponse
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.routing import FixedRouter, Route, Router
from hybrid_batch.inference.runner.runner import RunSpec, run_shards
from hybrid_batch.inference.runner.split import CutSplit, LocalSplit, Split, UploadSplit
from hybrid_batch.inference.tails.local import LocalTail

BATCH_SIZE, IMAGES, BROKEN = 4, 10, 5


class RecordingRouter:
    """Gives every batch the same split, with a fallback to this machine, and records the calls; see Router."""

    reason = None

    def __init__(self, split: Split, *, keep: bool = False) -> None:
        self._split, self._keep = split, keep
        self.sent, self.finished, self.failures = 0, 0, list[Exception]()

    @property
    def fixed_split(self) -> None:
        return None

    def route(self) -> Route:
        return Route(self._split, BATCH_SIZE)

    def admit(self, batch: Batch) -> Split:
        return LocalSplit() if self._keep else batch.split

    def on_send(self, batch: Batch, frame_bytes: int) -> None:
        self.sent += 1

    def on_response(self, batch: Batch) -> None:
        self.finished += 1

    def on_failure(self, batch: Batch, error: Exception) -> None:
        self.failures.append(error)

    def session(self, images: int, compile_split: Callable[[Split], None]) -> AbstractContextManager[None]:
        compile_split(self._split)
        return nullcontext()


class BrokenTail(LocalTail):
    """A tail that never responds, and accepts frames of at most `max_frame_bytes`."""

    def __init__(self, bundle: Bundle, runtime: Runtime, max_frame_bytes: int | None = None) -> None:
        super().__init__(bundle, runtime)
        self.max_frame_bytes = max_frame_bytes

    def infer(self, cut_id: str, frame: Frame) -> InferResponse:
        raise TailUnreachable("the tail is broken")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return resolve_model("digits")


@pytest.fixture(scope="module")
def runtime(bundle: Bundle) -> Runtime:
    return open_runtime("openvino", bundle)


@pytest.fixture
def run(tmp_path, bundle, runtime):
    """The records of a run over random images, of which one is broken."""
    folder = tmp_path / "in"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8), np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / f"{BROKEN}.png").write_bytes(b"broken")

    def records(log: str, router: Router, tail: LocalTail | None = None) -> list[dict[str, Any]]:
        run_folder = RunFolder(open_storage(str(tmp_path / f"run={log}")))
        found, tail = find_images(str(folder)), tail or LocalTail(bundle, runtime)
        run_shards(RunSpec(bundle, router, runtime, tail, "remote", found, run_folder, 100), lambda _: None)
        records = run_folder.read_part(0).to_pylist()
        assert [Path(record["image"]).stem for record in records] == [str(number) for number in range(IMAGES)]
        assert [record["error"] is not None for record in records] == [number == BROKEN for number in range(IMAGES)]
        return records

    return records


def provenance(records: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(record["cut"], record["codec"], record["tail"]) for record in records}


def predictions(records: list[dict[str, Any]]) -> list[tuple[str, float, str]]:
    return [(record["prediction"], record["confidence"], record["error"]) for record in records]


@pytest.mark.parametrize("codec", ["image", "jpeg75"])
def test_images_kept_on_this_machine_are_classified_as_stored(run, codec):
    """Recompressed files are not used: the record states that no codec was used."""
    router = RecordingRouter(UploadSplit(codec), keep=True)
    local, kept = run("local", FixedRouter(LocalSplit(), BATCH_SIZE)), run("kept", router)
    assert provenance(local) == provenance(kept) == {("local", "none", "local")}
    assert predictions(kept) == predictions(local)
    assert (router.sent, router.finished, router.failures) == (0, 3, [])


def test_a_batch_without_a_response_is_finished_on_this_machine(run, bundle, runtime):
    split = CutSplit(bundle.cut("c005"), "fp16")
    router = RecordingRouter(split)
    fallback = run("fallback", router, BrokenTail(bundle, runtime))
    assert (router.sent, router.finished, len(router.failures)) == (3, 3, 3)
    assert provenance(fallback) == {("c005", "fp16", "local")}
    assert {(record["sent_bytes"], record["received_bytes"]) for record in fallback} == {(0, 0)}
    fixed = run("fixed", FixedRouter(split, BATCH_SIZE))
    assert provenance(fixed) == {("c005", "fp16", "remote")}
    assert predictions(fallback) == predictions(fixed)


def test_a_frame_above_the_limit_of_the_tail_is_not_sent(run, bundle, runtime):
    router = RecordingRouter(CutSplit(bundle.cut("c005"), "fp16"))
    records = run("limited", router, BrokenTail(bundle, runtime, max_frame_bytes=1))
    assert (router.sent, router.finished, router.failures) == (0, 3, [])
    assert provenance(records) == {("c005", "fp16", "local")}


def test_with_a_fixed_split_a_missing_response_ends_the_run(run, bundle, runtime):
    router = FixedRouter(CutSplit(bundle.cut("c005"), "fp16"), BATCH_SIZE)
    with pytest.raises(TailUnreachable, match="the tail is broken"):
        run("ended", router, BrokenTail(bundle, runtime))
