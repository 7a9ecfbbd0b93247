"""Batches that run on this machine, because the split is local or because the router keeps them."""

from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from hybrid_batch.data.images.images import find_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.routing import FixedRouter, Route
from hybrid_batch.inference.runner.runner import RunSpec, run_shards
from hybrid_batch.inference.runner.split import LocalSplit, Split, UploadSplit
from hybrid_batch.inference.tails.local import LocalTail


class KeepLocal:
    """Plans an upload for every batch and then keeps it on this machine; see Router."""

    def __init__(self, planned: Split) -> None:
        self._planned = planned

    @property
    def fixed_split(self) -> None:
        return None

    def route(self) -> Route:
        return Route(self._planned, 4)

    def admit(self, batch: Batch) -> Split:
        return LocalSplit()

    def on_send(self, batch: Batch, frame_bytes: int) -> None:
        raise AssertionError("no batch may be sent")

    def on_response(self, batch: Batch) -> None:
        pass

    def on_failure(self, batch: Batch, error: Exception) -> None:
        raise AssertionError("no batch may be sent")

    def session(self, images: int, compile_split: object) -> nullcontext[None]:
        return nullcontext()


@pytest.mark.parametrize("codec", ["image", "jpeg75"])
def test_images_kept_on_this_machine_are_classified_as_stored(tmp_path, codec):
    """Recompressed files are not used: the record states that no codec was used."""
    bundle = resolve_model("digits")
    engine = open_runtime("openvino", bundle)
    noise = np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8)
    (tmp_path / "in").mkdir()
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "5.png").write_bytes(b"broken")
    found, tail = find_images(str(tmp_path / "in")), LocalTail(bundle, engine)
    seen = {}
    for name, router in (("local", FixedRouter(LocalSplit(), 4)), ("kept", KeepLocal(UploadSplit(codec)))):
        folder = RunFolder(open_storage(str(tmp_path / f"run={name}")))
        run_shards(RunSpec(bundle, router, engine, tail, "remote", found, folder, 100), lambda _: None)
        records = folder.read_part(0).to_pylist()
        assert [record["image"] for record in records] == found.table["image"].to_pylist()
        assert {(record["cut"], record["codec"], record["tail"]) for record in records} == {("local", "none", "local")}
        seen[name] = [(record["prediction"], record["confidence"], record["error"]) for record in records]
    assert seen["kept"] == seen["local"]
    assert [error is not None for _, _, error in seen["kept"]] == [number == 5 for number in range(10)]
