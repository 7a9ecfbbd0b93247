"""Plans within a limit of accuracy: which cuts are calibrated, and that nothing unmeasured is ever taken."""

import json
from pathlib import Path

import pytest

from hybrid_batch.data.images.images import Images, find_images
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.planner.calibration.calibration import Choice, Drop
from hybrid_batch.inference.planner.plan.accuracy_constraint import calibrator, limit_wishes, links_around
from hybrid_batch.inference.planner.plan.plan import Plan, Wishes, make_plan
from hybrid_batch.inference.planner.profile.profile import Link
from hybrid_batch.inference.protocol import codecs
from tests.conftest import ROOT
from tests.planner.made_profiles import chain, profile_of, scaled, without_tail

IMAGES = ROOT / "data" / "digits" / "images"
MBIT = 1e6
NARROW = chain((8000, 200), (1000, 500), (500, 900))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))


class Calibrations:
    """Every cut at so many bytes an element, and which were asked for."""

    def __init__(self, **element_bytes: float) -> None:
        self.element_bytes, self.asked = element_bytes, list[str]()

    def __call__(self, cut: Cut) -> Choice:
        self.asked.append(cut.id)
        size = cut.elements * self.element_bytes.get(cut.id, 0.25)
        return Choice("jpeg75" if cut.id == "c000" else f"tuned-{cut.id}", size, Drop(200, True, 0.5, 1.0, 0.1))


def planned(profile, calibrate: Calibrations, wishes: Wishes, *links: Link) -> Plan:
    limited = limit_wishes(NARROW, profile, wishes, links or [profile.tail.link], calibrate)
    assert set(limited.choices) == set(calibrate.asked)
    return make_plan(NARROW, profile, limited)


def test_the_cut_that_is_taken_is_calibrated_and_no_other():
    calibrate = Calibrations()
    plan = planned(profile_of(200_000, 10_000, 0.2 * MBIT, picture_bytes=50_000), calibrate, Wishes("latency"))
    assert calibrate.asked == ["c002"]
    assert (plan.chosen.split.name, plan.chosen.codec) == ("c002", "tuned-c002")
    assert plan.chosen.sent_bytes == pytest.approx(250 + 450 / plan.chosen.batch)


def test_a_cut_that_disappoints_is_left_for_the_next():
    calibrate = Calibrations(c002=400)
    plan = planned(profile_of(200_000, 10_000, 0.2 * MBIT, picture_bytes=50_000), calibrate, Wishes("latency"))
    assert calibrate.asked[0] == "c002"
    assert plan.chosen.codec == f"tuned-{plan.chosen.split.name}"
    assert plan.chosen.split.name != "c002"


def test_only_four_cuts_are_calibrated_and_what_is_taken_is_one_of_them_or_loses_nothing():
    bundle = chain(*((200, work) for work in range(50, 1000, 50)))
    calibrate = Calibrations(**{cut.id: 1e6 for cut in bundle.cuts})
    profile = profile_of(20_000, 1000, 1 * MBIT, picture_bytes=50_000)
    wishes = limit_wishes(bundle, profile, Wishes("latency"), links_around(profile.tail.link), calibrate)
    assert len(calibrate.asked) == 4
    chosen = make_plan(bundle, profile, wishes).chosen
    assert chosen.codec in ("none", "fp32", "image")


def test_a_run_is_ready_for_other_links():
    """Slow enough that uploading is out now, and at sixteen times the rate is not."""
    profile = profile_of(20_000, 1000, 0.2 * MBIT, picture_bytes=50_000)
    now, later = Calibrations(), Calibrations()
    planned(profile, now, Wishes("latency"))
    planned(profile, later, Wishes("latency"), *links_around(profile.tail.link))
    assert set(later.asked) > set(now.asked)


def test_what_is_kept_here_is_not_calibrated():
    calibrate = Calibrations()
    wishes = Wishes("latency", min_cut="layer3")
    planned(profile_of(20_000, 1000, 1000 * MBIT), calibrate, wishes)
    assert set(calibrate.asked) <= {"c003"}


def test_without_a_tail_or_a_link_nothing_is_calibrated():
    calibrate = Calibrations()
    profile = without_tail(profile_of(1000, 1, 1))
    assert limit_wishes(NARROW, profile, Wishes(), [], calibrate).choices == {}
    assert planned(profile_of(1000, 1, 0), calibrate, Wishes()).chosen.cut is None
    assert calibrate.asked == []


def test_what_a_plan_takes_of_the_sample_keeps_its_accuracy():
    bundle, said = open_model("digits"), list[str]()
    found = find_images(str(IMAGES))
    images = Images(found.root, label_images(found.table, "folders", bundle.labels).table)
    profile = scaled(profile_of(20_000, 100, 1 * MBIT), bundle)
    calibrate = calibrator(bundle, open_engine("openvino", bundle, cached=False), images, 0.5, said.append)
    wishes = limit_wishes(bundle, profile, Wishes("latency", min_cut="c002"), [profile.tail.link], calibrate)
    chosen = make_plan(bundle, profile, wishes).chosen
    choice = wishes.choices[chosen.split.name]
    assert chosen.codec == choice.codec
    assert choice.drop.within(0.5)
    assert any(line.startswith(f"Codec {choice.codec} at {chosen.split.name}: ") for line in said)


def test_the_command_plans_with_what_it_measured(capsys, digits_server):
    from hybrid_batch.cli import main

    command = ["plan", "digits", "--tail", digits_server.url, "--batch-size", "8", "--images", str(IMAGES), "--json"]
    assert main([*command, "--max-accuracy-drop", "0.5", "--objective", "latency"]) == 0
    plan = json.loads(capsys.readouterr().out)
    named = {row["codec"] for row in plan["candidates"] if not row["codec"].startswith("tuned-")}
    assert named <= {"none", "fp32", "int8", "fp16", *codecs.PICTURE_CODECS}
    assert plan["chosen"]["codec"] in ("none", "fp32", "image") or plan["drop"]["points"] <= 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-accuracy-drop", "0.5"], "--images DIR"),
        (["--codec", "auto"], "--images DIR"),
        (["--max-accuracy-drop", "1", "--codec", "q4", "--images", str(IMAGES)], "leave out q4"),
    ],
)
def test_contradictions_are_refused(options, words, capsys):
    from hybrid_batch.cli import main

    assert main(["plan", "digits", *options]) == 2
    assert words in capsys.readouterr().err


def test_a_run_takes_only_codecs_whose_loss_was_measured_and_finds_itself_again(tmp_path, capsys, digits_server):
    from hybrid_batch.cli import main

    command = ["run", str(IMAGES), "--tail", digits_server.url, "--codec", "auto", "--batch-size", "8", "--json"]
    command += ["--log", str(tmp_path / "log"), "--min-cut", "c002"]
    assert main(command) == 0
    out, said = capsys.readouterr()
    first = json.loads(out)
    assert first["images"] == 360
    assert first["accuracy"] >= 0.98
    assert {way.partition(" ")[2].partition("-")[0] for way in first["cuts"]} <= {
        "none",
        "fp32",
        "fp16",
        "int8",
        "tuned",
    }
    assert "Plan: " in said
    assert main(command) == 0
    out, said = capsys.readouterr()
    assert json.loads(out)["run"] == first["run"]
    assert "nothing to do" in said
