"""What `plan` and `profile` print: the images that they measure with, unreliable plans, and a chart like the table."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from hybrid_batch.cli import main
from hybrid_batch.inference.commands import plan as plan_command
from hybrid_batch.inference.planner.plan import plot
from hybrid_batch.inference.planner.profile.piecewise_linear import PiecewiseLinear
from hybrid_batch.inference.planner.profile.profile import Profile
from tests.conftest import ROOT
from tests.factories.profiles import WORK, profile_of, scaled

DIGITS = ROOT / "data" / "digits"
MADE_UP = re.compile(r"Warning: without --images a made-up image of \d+ kB is measured")


@pytest.fixture
def stored(monkeypatch, digits_server) -> list[Profile]:
    """Commands plan with the last of these profiles instead of measuring one."""
    profiles: list[Profile] = []
    monkeypatch.setattr(
        "hybrid_batch.inference.planner.profile.profile_store.open_profile",
        lambda target, *_, **__: scaled(profiles[-1], target.bundle),
    )
    return profiles


def with_error(profile: Profile, error: float) -> Profile:
    """The profile with a head in the middle that deviates by this share of the whole model's time."""
    times = {}
    for batch, curve in profile.times.items():
        whole = curve.points[-1][1]
        times[batch] = PiecewiseLinear(((0.0, 0.0), (WORK / 2, whole * (0.5 + error)), (float(WORK), whole)))
    return replace(profile, times=times)


def test_an_unreliable_plan_says_so_and_what_to_do(stored, digits_server, capsys):
    command = ["plan", "digits", "--tail", digits_server.url]
    stored.append(with_error(profile_of(2000, 100, 10e6), 0.3))
    assert main(command) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("unreliable: ")
    assert "30%" in first
    assert "hybrid-batch profile --remeasure" in first
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unreliable"] == first.removeprefix("unreliable: ")
    stored.append(with_error(profile_of(2000, 100, 10e6), 0.2))
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unreliable"] is None
    assert main(command) == 0
    assert "unreliable" not in capsys.readouterr().out


def test_a_made_up_image_is_announced_in_the_first_line(stored, capsys, tmp_path):
    other = tmp_path / "other.bundle"
    shutil.copytree(DIGITS / "digits.bundle", other)
    stored.append(profile_of(2000, 100, 10e6))
    for command in ("plan", "profile"):
        assert main([command, str(other)]) == 0
        assert MADE_UP.match(capsys.readouterr().err.splitlines()[0])
        assert main([command, str(other), "--images", str(DIGITS / "images")]) == 0
        assert "made-up" not in capsys.readouterr().err


def test_the_built_in_model_is_planned_for_its_own_images(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    assert main(["profile", "digits", "--batch-size", "8", "--json"]) == 0
    printed = capsys.readouterr()
    images = json.loads(printed.out)["images"]
    assert images["bytes"] < 200
    assert images["count"] == 16
    assert not images["made_up"]
    assert "made-up" not in printed.err


@pytest.mark.parametrize("options", [[], ["--all"], ["--objective", "bytes", "--min-rate", "10", "--codec", "int8"]])
def test_the_chart_shows_the_rows_of_the_table(stored, digits_server, capsys, monkeypatch, options, tmp_path):
    drawn, tabled = [], []
    table = plan_command._table
    monkeypatch.setattr(plot, "draw_plan", lambda candidates, *_: drawn.append([*candidates]))
    monkeypatch.setattr(plan_command, "_table", lambda shown, *more: tabled.append([*shown]) or table(shown, *more))
    stored.append(profile_of(2000, 100, 10e6))
    command = ["plan", "digits", "--tail", digits_server.url, "--plot", str(tmp_path / "plan.png")]
    assert main([*command, *options]) == 0
    assert drawn == tabled
    assert len(drawn[0]) > 5
    assert (len(drawn[0]) > 30) == bool(options == ["--all"])


def test_a_chart_has_one_bar_for_each_candidate_in_their_order(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    from hybrid_batch.inference.planner.plan.plan import PlanRequest, make_plan
    from tests.factories.profiles import chain

    shown: list[str] = []
    monkeypatch.setattr(Axes, "set_xticks", lambda self, ticks, labels, **_: shown.extend(labels))
    monkeypatch.setattr(Axes, "get_xticklabels", lambda self: self.get_yticklabels())
    ranking = make_plan(chain((800, 200), (100, 500)), profile_of(2000, 100, 10e6), PlanRequest()).ranking()
    plot.draw_plan(ranking, tmp_path / "plan.png", "chain")
    assert shown == [plot.label(one) for one in ranking]
    assert len(set(shown)) == len(ranking)


def test_a_plan_that_sends_no_tensors_calibrates_nothing_and_says_so(stored, digits_server, capsys):
    stored.append(profile_of(10, 1000, 1e3))
    command = ["plan", "digits", "--tail", digits_server.url, "--max-accuracy-drop", "0.5"]
    assert main(command) == 0
    assert "Note: No codec was calibrated, because the plan sends no tensors" in capsys.readouterr().err
