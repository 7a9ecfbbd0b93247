"""What the closing table says of the ways that images went."""

import pyarrow as pa

from data.storage import open_storage
from inference.closing import print_closing
from inference.engines import open_engine
from inference.models import open_model
from inference.runner import Images, Job, Pace, RunFolder
from inference.split import Split
from inference.tails.local import LocalTail
from inference.totals import Totals


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
