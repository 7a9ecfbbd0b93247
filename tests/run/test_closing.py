"""What the closing table says of the ways that images went."""

import pyarrow as pa

from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.runner.runner import Images, Job, Pace, RunFolder
from hybrid_batch.inference.runner.split import Split
from hybrid_batch.inference.runner.summary import print_closing
from hybrid_batch.inference.runner.totals import Totals
from hybrid_batch.inference.tails.local import LocalTail


def test_ways_are_told_as_plans_name_them(capsys, tmp_path):
    bundle = open_model("digits")
    engine = open_engine("openvino", bundle)
    storage = open_storage(str(tmp_path))
    images, folder = Images(storage, pa.table({"image": [], "label": []})), RunFolder(storage)
    cuts = {"c005 fp16": 5, "c000 image": 2, "c000 jpeg75": 1, "local none": 2}
    with LocalTail(bundle, engine) as tail:
        job = Job(bundle, Split(bundle.cut("c005"), "fp16"), engine, tail, "local", images, folder, 10, Pace(8))
        print_closing(job, Totals(images=10, cuts=cuts))
    (told,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cut")]
    name = bundle.cut("c005").name
    assert told.split(maxsplit=1)[1] == f"20% upload · 10% upload jpeg75 · 50% c005 {name} in fp16 · 20% whole here"
