"""The summary of a run."""

import pyarrow as pa
import pytest

from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.runner.output import print_summary
from hybrid_batch.inference.runner.routing import FixedRouter
from hybrid_batch.inference.runner.runner import RunSpec
from hybrid_batch.inference.runner.split import CutSplit, LocalSplit, Split, UploadSplit
from hybrid_batch.inference.runner.totals import Totals
from hybrid_batch.inference.tails.local import LocalTail


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return resolve_model("digits")


@pytest.fixture
def summary(bundle, tmp_path, capsys):
    """The rows that the summary of a run prints, by their names."""

    def printed(split: Split, totals: Totals) -> dict[str, str]:
        storage, runtime = open_storage(str(tmp_path)), open_runtime("openvino", bundle)
        images = ImageSet(storage, pa.table({"image": [], "label": []}))
        with LocalTail(bundle, runtime) as tail:
            router = FixedRouter(split, 8)
            print_summary(RunSpec(bundle, router, runtime, tail, "the tail", images, RunFolder(storage), 10), totals)
        rows = (line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        return dict(row for row in rows if len(row) == 2)

    return printed


def test_the_share_of_each_split_is_printed_with_the_names_of_the_plan(bundle, summary):
    cuts = {"c005 fp16": 5, "c000 image": 2, "c000 jpeg75": 1, "local none": 2}
    printed = summary(CutSplit(bundle.cut("c005"), "fp16"), Totals(images=10, cuts=cuts))
    name = bundle.cut("c005").name
    assert printed["cut"] == f"20% upload · 10% upload jpeg75 · 50% c005 {name} in fp16 · 20% local"


def test_a_fixed_split_is_printed_with_its_share_of_the_work(bundle, summary):
    cut = bundle.cut("c005")
    totals = Totals(images=10, cuts={"c005 fp16": 10}, image_bytes=1000, sent_bytes=250)
    printed = summary(CutSplit(cut, "fp16"), totals)
    assert printed["cut"] == f"c005 {cut.name}, {cut.head_share:.1%} of the work local, fp16 to the tail"
    assert printed["sent"].startswith("250 bytes, 0.25 x the files' 1.0 kB;")
    upload = summary(UploadSplit("image"), Totals(images=10, cuts={"c000 image": 10}))
    assert upload["cut"] == f"c000 {bundle.input_cut.name}, 0.0% of the work local, image to the tail"
    assert upload["sent"].startswith("0 bytes,")


def test_a_local_run_prints_no_bytes(summary):
    printed = summary(LocalSplit(), Totals(images=10, cuts={"local none": 10}))
    assert printed["cut"] == "local: the whole model ran on this machine"
    assert "sent" not in printed
