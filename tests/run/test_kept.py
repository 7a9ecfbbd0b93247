"""Batches that stay here, as all do or though they were meant for the tail."""

from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from hybrid_batch.data.images.images import find_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.routing import Route
from hybrid_batch.inference.runner.runner import Job, Pace, run_shards
from hybrid_batch.inference.runner.split import HERE, Split
from hybrid_batch.inference.tails.local import LocalTail


class Keeping:
    """Means every batch to be uploaded, and keeps it here; see Follow."""

    def __init__(self, meant: Split) -> None:
        self._meant = meant

    def route(self) -> Route:
        return Route(self._meant, 4)

    def admit(self, batch: Batch) -> Split:
        return HERE

    def sending(self, batch: Batch) -> None:
        raise AssertionError("nothing is sent")

    def answered(self, batch: Batch) -> None:
        pass

    def lost(self, batch: Batch, error: Exception) -> None:
        raise AssertionError("nothing is sent")

    def running(self, images: int, ready: object) -> nullcontext[None]:
        return nullcontext()


@pytest.mark.parametrize("codec", ["image", "jpeg75"])
def test_pictures_that_stay_here_are_computed_as_they_are(tmp_path, codec):
    """Not as the smaller files they would have travelled as: the record says that no codec was used."""
    bundle = open_model("digits")
    engine = open_engine("openvino", bundle)
    noise = np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8)
    (tmp_path / "in").mkdir()
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "5.png").write_bytes(b"broken")
    found, tail = find_images(str(tmp_path / "in")), LocalTail(bundle, engine)
    seen = {}
    for name, follow in (("local", None), ("kept", Keeping(Split(bundle.whole, codec)))):
        folder = RunFolder(open_storage(str(tmp_path / f"run={name}")))
        run_shards(Job(bundle, HERE, engine, tail, "there", found, folder, 100, Pace(4), follow), lambda _: None)
        records = folder.read_part(0).to_pylist()
        assert [record["image"] for record in records] == found.table["image"].to_pylist()
        assert {(record["cut"], record["codec"], record["tail"]) for record in records} == {("local", "none", "local")}
        seen[name] = [(record["prediction"], record["confidence"], record["error"]) for record in records]
    assert seen["kept"] == seen["local"]
    assert [error is not None for _, _, error in seen["kept"]] == [number == 5 for number in range(10)]
