"""Plans within an accuracy limit: which cuts are calibrated, and that no codec of unknown loss is chosen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.planner.calibration.accuracy_drop import AccuracyDrop, CodecChoice
from hybrid_batch.inference.planner.plan.accuracy_constraint import constrain, make_calibrator, nearby_links
from hybrid_batch.inference.planner.plan.plan import Plan, PlanRequest, make_plan
from hybrid_batch.inference.planner.profile.profile import Link
from hybrid_batch.inference.protocol import codecs
from tests.conftest import ROOT
from tests.factories.profiles import chain, profile_of, scaled, without_tail

IMAGES = ROOT / "data" / "digits" / "images"
MBIT = 1e6
NARROW = chain((8000, 200), (1000, 500), (500, 900))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))


class Calibrations:
    """A calibration with given bytes per element; records the calibrated cuts."""

    def __init__(self, **element_bytes: float) -> None:
        self.element_bytes, self.calibrated = element_bytes, list[str]()

    def __call__(self, cut: Cut) -> CodecChoice:
        self.calibrated.append(cut.id)
        size = cut.elements * self.element_bytes.get(cut.id, 0.25)
        return CodecChoice(
            "jpeg75" if cut.id == "c000" else f"calibrated-{cut.id}", size, AccuracyDrop(200, True, 0.5, 1.0, 0.1)
        )


def plan_within(profile, calibrate: Calibrations, request: PlanRequest, *links: Link) -> Plan:
    limited = constrain(NARROW, profile, request, links or [profile.tail.link], calibrate)
    assert set(limited.codec_choices) == set(calibrate.calibrated)
    return make_plan(NARROW, profile, limited)


def test_only_the_chosen_cut_is_calibrated():
    calibrate = Calibrations()
    plan = plan_within(profile_of(200_000, 10_000, 0.2 * MBIT, image_bytes=50_000), calibrate, PlanRequest("latency"))
    assert calibrate.calibrated == ["c002"]
    assert (plan.chosen.split.name, plan.chosen.codec) == ("c002", "calibrated-c002")
    assert plan.chosen.sent_bytes == pytest.approx(250 + 450 / plan.chosen.batch)


def test_a_cut_is_calibrated_although_lossless_tensors_are_as_fast():
    """Over a fast link the plan may prefer tensors that need no coding; the calibrated codec is a candidate all the
    same."""
    calibrate = Calibrations()
    fast = profile_of(200_000, 10_000, 1e5 * MBIT, image_bytes=50_000)
    fast = replace(fast, codecs=fast.codecs | {"q4": replace(fast.codecs["q4"], encode_us=1000.0)})
    plan_within(fast, calibrate, PlanRequest(earliest_cut="c001"))
    assert calibrate.calibrated


def test_a_cut_with_a_larger_payload_than_expected_is_given_up_for_the_next():
    calibrate = Calibrations(c002=400)
    plan = plan_within(profile_of(200_000, 10_000, 0.2 * MBIT, image_bytes=50_000), calibrate, PlanRequest("latency"))
    assert calibrate.calibrated[0] == "c002"
    assert plan.chosen.codec == f"calibrated-{plan.chosen.split.name}"
    assert plan.chosen.split.name != "c002"


def test_at_most_four_cuts_are_calibrated_and_the_plan_takes_one_of_them_or_a_lossless_codec():
    bundle = chain(*((200, work) for work in range(50, 1000, 50)))
    calibrate = Calibrations(**{cut.id: 1e6 for cut in bundle.cuts})
    profile = profile_of(20_000, 1000, 1 * MBIT, image_bytes=50_000)
    request = constrain(bundle, profile, PlanRequest("latency"), nearby_links(profile.tail.link), calibrate)
    assert len(calibrate.calibrated) == 4
    chosen = make_plan(bundle, profile, request).chosen
    assert chosen.codec in ("none", "fp32", "image")


def test_cuts_for_nearby_links_are_calibrated_too():
    """The link is too slow for uploads now, but not at sixteen times the rate."""
    profile = profile_of(20_000, 1000, 0.2 * MBIT, image_bytes=50_000)
    now, later = Calibrations(), Calibrations()
    plan_within(profile, now, PlanRequest("latency"))
    plan_within(profile, later, PlanRequest("latency"), *nearby_links(profile.tail.link))
    assert set(later.calibrated) > set(now.calibrated)


def test_cuts_before_the_earliest_are_not_calibrated():
    calibrate = Calibrations()
    request = PlanRequest("latency", earliest_cut="layer3")
    plan_within(profile_of(20_000, 1000, 1000 * MBIT), calibrate, request)
    assert set(calibrate.calibrated) <= {"c003"}


def test_without_a_tail_or_a_link_nothing_is_calibrated():
    calibrate = Calibrations()
    profile = without_tail(profile_of(1000, 1, 1))
    assert constrain(NARROW, profile, PlanRequest(), [], calibrate).codec_choices == {}
    assert plan_within(profile_of(1000, 1, 0), calibrate, PlanRequest()).chosen.cut is None
    assert calibrate.calibrated == []


def test_the_planned_codec_of_the_sample_model_keeps_its_accuracy():
    bundle, lines = resolve_model("digits"), list[str]()
    found = find_images(str(IMAGES))
    images = ImageSet(found.root, label_images(found.table, "folders", bundle.labels).table)
    profile = scaled(profile_of(20_000, 100, 1 * MBIT), bundle)
    calibrate = make_calibrator(bundle, open_runtime("openvino", bundle, cached=False), images, 0.5, lines.append)
    request = constrain(bundle, profile, PlanRequest("latency", earliest_cut="c002"), [profile.tail.link], calibrate)
    chosen = make_plan(bundle, profile, request).chosen
    choice = request.codec_choices[chosen.split.name]
    assert chosen.codec == choice.codec
    assert choice.drop.is_within(0.5)
    assert any(line.startswith(f"Codec {choice.codec} at {chosen.split.name}: ") for line in lines)


def test_the_command_plans_with_calibrated_codecs(capsys, digits_server):
    from hybrid_batch.cli import main

    command = ["plan", "digits", "--tail", digits_server.url, "--batch-size", "8", "--images", str(IMAGES), "--json"]
    assert main([*command, "--max-accuracy-drop", "0.5", "--objective", "latency"]) == 0
    plan = json.loads(capsys.readouterr().out)
    named = {row["codec"] for row in plan["candidates"] if not row["codec"].startswith("calibrated-")}
    assert named <= {"none", "fp32", "int8", "fp16", *codecs.IMAGE_CODECS}
    assert plan["chosen"]["codec"] in ("none", "fp32", "image") or plan["drop"]["points"] <= 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-accuracy-drop", "0.5"], "--images DIR"),
        (["--codec", "auto"], "--images DIR"),
        (["--max-accuracy-drop", "1", "--codec", "q4", "--images", str(IMAGES)], "leave out --codec q4"),
    ],
)
def test_contradictions_are_refused(options, words, capsys, tmp_path):
    """A copy of the built-in model has no images of its own."""
    from hybrid_batch.cli import main

    bundle = shutil.copytree(ROOT / "data" / "digits" / "digits.bundle", tmp_path / "copy.bundle")
    assert main(["plan", str(bundle), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_run_takes_only_codecs_of_known_loss_and_resumes(tmp_path, capsys, digits_server):
    from hybrid_batch.cli import main

    command = ["run", str(IMAGES), "--tail", digits_server.url, "--codec", "auto", "--batch-size", "8", "--json"]
    command += ["--log", str(tmp_path / "log"), "--earliest-cut", "c002"]
    assert main(command) == 0
    out, lines = capsys.readouterr()
    first = json.loads(out)
    assert first["images"] == 360
    assert first["accuracy"] >= 0.98
    assert {split.partition(" ")[2].partition("-")[0] for split in first["cuts"]} <= {
        "none",
        "fp32",
        "fp16",
        "int8",
        "tuned",
    }
    assert "Plan: " in lines
    assert main(command) == 0
    out, lines = capsys.readouterr()
    assert json.loads(out)["run"] == first["run"]
    assert "nothing to do" in lines
