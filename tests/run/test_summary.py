"""The summary of a run."""

import pyarrow as pa

from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.runner.output import print_summary
from hybrid_batch.inference.runner.routing import FixedRouter
from hybrid_batch.inference.runner.runner import ImageSet, RunFolder, RunSpec
from hybrid_batch.inference.runner.split import CutSplit
from hybrid_batch.inference.runner.totals import Totals
from hybrid_batch.inference.tails.local import LocalTail


def test_the_share_of_each_split_is_printed_with_the_names_of_the_plan(capsys, tmp_path):
    bundle = resolve_model("digits")
    engine = open_runtime("openvino", bundle)
    storage = open_storage(str(tmp_path))
    images, folder = ImageSet(storage, pa.table({"image": [], "label": []})), RunFolder(storage)
    cuts = {"c005 fp16": 5, "c000 image": 2, "c000 jpeg75": 1, "local none": 2}
    with LocalTail(bundle, engine) as tail:
        job = RunSpec(
            bundle, FixedRouter(CutSplit(bundle.cut("c005"), "fp16"), 8), engine, tail, "local", images, folder, 10
        )
        print_summary(job, Totals(images=10, cuts=cuts))
    (told,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cut")]
    name = bundle.cut("c005").name
    assert told.split(maxsplit=1)[1] == f"20% upload · 10% upload jpeg75 · 50% c005 {name} in fp16 · 20% local"
