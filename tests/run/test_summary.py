"""The summary of a run, from the totals of its log."""

import re
from dataclasses import replace

import pytest

from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.data.log.records import STAGES, WAITS
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.commands.run.run_images import RunResult
from hybrid_batch.inference.commands.run.summary import print_summary, summary_facts
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.runner.totals import Totals


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return resolve_model("digits")


@pytest.fixture
def summary(bundle, tmp_path, capsys):
    """The rows that the summary of a run prints, by their names."""

    def printed(totals: Totals, bundle: Bundle = bundle, not_applied: tuple[str, ...] = ()) -> dict[str, str]:
        storage = open_storage(str(tmp_path))
        images = ImageSet(storage, None)
        print_summary(RunResult(RunFolder(storage), bundle, images, totals, not_applied))
        lines = capsys.readouterr().out.splitlines()
        column = min(len(name) for name in lines[0].split(str(totals.images))[:1])
        return {line[:column].strip(): line[column:].strip() for line in lines}

    return printed


def test_the_share_of_each_split_is_printed_with_the_names_of_the_plan(bundle, summary):
    cuts = {"c005 fp16": 5, "c000 image": 2, "c000 jpeg75": 1, "local none": 2}
    printed = summary(Totals(images=10, cuts=cuts, tails={"http://x": 8, "local": 2}))
    name = bundle.cut("c005").name
    assert printed["cut"] == f"20% upload · 10% upload jpeg75 · 50% c005 {name} in fp16 · 20% local; tail in http://x"


def test_a_single_split_is_printed_with_its_share_of_the_work(bundle, summary):
    cut = bundle.cut("c005")
    totals = Totals(images=10, cuts={"c005 fp16": 10}, tails={"http://x": 10}, image_bytes=1000, cut_bytes=250)
    totals.sent_bytes, totals.received_bytes = 260, 90
    printed = summary(totals)
    assert (
        printed["cut"] == f"c005 {cut.name}, {cut.head_share:.1%} of the work in the head, codec fp16, tail in http://x"
    )
    assert printed["at the cut"] == "250 bytes, 0.25 x the files' 1.0 kB"
    assert printed["network"] == "260 bytes sent, 90 bytes received"
    upload = summary(Totals(images=10, cuts={"c000 image": 10}, tails={"http://x": 10}))
    said = "remote: the image files crossed in codec image, and the whole model ran in http://x"
    assert upload["cut"] == said


def test_bytes_at_the_cut_are_not_bytes_over_a_network(summary):
    """A split whose tail is in the same process sends nothing, whatever the size of its boundary."""
    totals = Totals(images=10, cuts={"c005 fp16": 10}, tails={"local": 10}, image_bytes=1000, cut_bytes=18_500)
    printed = summary(totals)
    assert printed["at the cut"] == "18.5 kB, 18.5 x the files' 1.0 kB"
    assert printed["network"] == "nothing sent: head and tail ran in one process"
    assert printed["cut"].endswith("tail in this process")


def test_a_local_run_prints_no_bytes(summary):
    printed = summary(Totals(images=10, cuts={"local none": 10}, tails={"local": 10}))
    assert printed["cut"] == "local: the whole model ran on this machine"
    assert not {"at the cut", "network"} & printed.keys()


def test_the_stages_and_the_waiting_add_up_to_the_latency(summary):
    stages = {stage: 1000 * number for number, stage in enumerate(STAGES, 1)}  # 21 ms of work for 1 image
    waits = dict.fromkeys(WAITS, 10000)
    cuts, tails = {"c005 fp16": 1}, {"http://x": 1}
    totals = Totals(images=1, cuts=cuts, tails=tails, stages_us=stages | {"latency": 61_000}, waits_us=waits)
    printed = summary(totals)
    assert printed["ms an image"].endswith("tail 6.00 = 21.00 (of its batch, divided)")
    assert printed["ms waiting"] == "batch 10.00 · head 10.00 · encode 10.00 · send 10.00 = 40.00"
    assert printed["ms latency"] == "61.00, the sum of both; all are means"
    without = summary(replace(totals, waits_us={}))
    assert without["ms an image"].endswith("latency 61.00, with waiting")
    assert "ms waiting" not in without


def test_the_reason_random_weights_and_options_that_were_not_applied_are_printed(bundle, summary):
    totals = Totals(images=1, cuts={"local none": 1}, reason="Because.")
    printed = summary(totals, replace(bundle, has_random_weights=True), ("--tail http://x (this run's tail: local)",))
    assert printed["why"] == "Because."
    assert printed["weights"].startswith("random")
    assert printed["not applied"] == "--tail http://x (this run's tail: local)"
    assert not {"why", "weights", "not applied"} & summary(Totals(images=1, cuts={"local none": 1})).keys()


def test_json_holds_the_cut_of_the_log(bundle, tmp_path):
    storage = open_storage(str(tmp_path))
    result = RunResult(RunFolder(storage), bundle, ImageSet(storage, None), Totals(images=2, cuts={"c005 fp16": 2}))
    assert (facts := summary_facts(result))["cut"] == "c005"
    assert facts["codec"] == "fp16"
    assert (facts["model"], facts["bundle"]) == ("digits", bundle.sha256)
    result.totals.active_us = [[0, 2_000_000], [5_000_000, 7_000_000]]
    facts = summary_facts(result)
    assert (facts["seconds"], facts["images_per_s"]) == (4.0, 0.5)
    result.totals.cuts = {"c005 fp16": 1, "local none": 1}
    assert summary_facts(result)["cut"] is None


def test_the_most_frequent_reasons_of_errors_are_named_and_the_rest_is_counted(summary):
    reasons = {"a": 1, "b": 3, "c": 2, "d": 1, "other reasons": 5}
    assert summary(Totals(images=12, errors=12, error_reasons=reasons))["errors"] == (
        "12: 3 x b · 2 x c · 1 x a · 6 x other reasons"
    )
    assert summary(Totals(images=3, errors=3, error_reasons={"b": 3}))["errors"] == "3: 3 x b"


def test_without_a_classified_image_no_times_and_bytes_are_shown(summary):
    printed = summary(Totals(images=2, errors=2, cuts={"c005 fp16": 2}, tails={"http://x": 2}))
    assert not {"ms an image", "ms waiting", "ms latency", "at the cut", "network"} & printed.keys()


def test_the_rate_counts_classified_images(summary):
    totals = Totals(images=6, errors=2, cuts={"local none": 6}, active_us=[[0, 2_000_000]])
    assert summary(totals)["images"] == "6 in 2 s, 2 classified images/s"
    assert summary(replace(totals, errors=0))["images"] == "6 in 2 s, 3 images/s"


def test_stages_that_no_image_passed_are_left_out(summary):
    local = summary(Totals(images=1, cuts={"local none": 1}, tails={"local": 1}))
    assert local["ms an image"] == "decode 0.00 · head 0.00 = 0.00 (of its batch, divided)"
    assert local["ms waiting"] == "batch 0.00 · head 0.00 = 0.00"
    here = summary(Totals(images=1, cuts={"c005 fp16": 1}, tails={"local": 1}))
    assert here["ms an image"].startswith("decode 0.00 · head 0.00 · encode 0.00 · tail 0.00 =")


def test_a_narrow_terminal_breaks_lines_between_stages(summary, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "70")
    printed = "\n".join(summary(Totals(images=1, cuts={"c005 fp16": 1}, tails={"http://x": 1})).values())
    assert not re.search(r"(decode|head|encode|link|queue|tail)\s*\n", printed)
