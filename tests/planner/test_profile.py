"""Profiles measured of the sample model with real servers, and what becomes of bad ones."""

import copy
import json
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.errors import TailUnreachable
from hybrid_batch.data.images.images import find_images
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.planner.profile.local_profiler import line
from hybrid_batch.inference.planner.profile.profile import Link, Profile
from hybrid_batch.inference.planner.profile.profile_store import measure, open_profile, profile_path
from hybrid_batch.inference.planner.profile.remote_profiler import find_lie, link_of, measure_there
from hybrid_batch.inference.planner.profile.sample import Sample, take_sample
from hybrid_batch.inference.planner.profile.target import Subject
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.tails.http import HttpExchange, http_tail
from hybrid_batch.inference.tails.remote import ServedTail
from hybrid_batch.inference.tails.retry_policy import Patience
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import ROOT, free_port
from tests.planner.made_profiles import profile_of


@pytest.fixture(scope="module")
def bundle():
    return open_model("digits")


@pytest.fixture(scope="module")
def engine(bundle):
    return open_engine("openvino", bundle)


@pytest.fixture
def here(bundle, engine, tmp_path, monkeypatch) -> Subject:
    """On a machine that never seems to have changed, whatever else it does meanwhile."""
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    monkeypatch.setattr("hybrid_batch.inference.planner.profile.profile_store._MOVED_US", 100_000.0)
    return Subject(bundle, engine, None, "", 8)


def sample_of(subject: Subject) -> Sample:
    return take_sample(subject.bundle.preparation, subject.images)


def path_of(subject: Subject) -> Path:
    return profile_path(subject, sample_of(subject).pictures)


def test_pictures_of_another_size_have_a_profile_of_their_own(here):
    """What uploading them costs the tail was measured with them."""
    said: list[str] = []
    small = replace(here, images=find_images(str(ROOT / "data" / "digits" / "images")))
    open_profile(here, said.append, budget_s=0)
    open_profile(small, said.append, budget_s=0)
    assert len(said) == 2
    open_profile(small, said.append, budget_s=0)
    profile = open_profile(here, said.append, budget_s=0)
    assert len(said) == 2
    assert profile.pictures.bytes > 10_000
    assert path_of(here) != path_of(small)


def test_a_profile_is_measured_once_and_then_reused(here):
    said: list[str] = []
    first = open_profile(here, said.append, budget_s=1)
    assert len(said) == 1
    assert tuple(first.times) == (1, 8)
    assert all(curve.at(here.bundle.whole.tail_macs) > 0 for curve in first.times.values())
    assert set(first.codecs) >= {"fp32", "fp16", "int8"}
    assert first.codecs["fp16"].bytes.at(0) == 2
    assert 0 < first.pictures.jpeg["jpeg75"][0] <= first.pictures.jpeg["jpeg90"][0]
    again = open_profile(here, said.append)
    assert again.times == first.times
    assert len(said) == 1


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        ([(10, 1010), (1000, 2000), (8000, 9000)], (1, 1000)),
        ([(8000, 9000), (10, 1010), (1000, 9000), (2000, 3000)], (1, 1000)),
        ([(10, 50), (10, 70)], (5, 0)),
        ([(10, 50), (1000, 40)], (0, 50)),
        ([(10, 5), (1000, 1000)], (pytest.approx(995 / 990), 0)),
    ],
)
def test_what_a_frame_costs_and_what_an_element(frames, found):
    assert line(frames) == found


STATED = {"q4": (1500.0, 0.5)}  # µs a frame and an element
OTHERS = (50.0, 0.25)


class StatedTail(ServedTail):
    """The real server, which takes as long to decode as is stated."""

    def infer(self, cut_id, frame):
        answer, tensor = super().infer(cut_id, frame), frame.tensors[0]
        elements = self._bundle.cut(cut_id).elements * len(answer.scores)
        frame_us, each_us = STATED.get(tensor.parameters.get("codec"), OTHERS)
        return replace(answer, times=replace(answer.times, decode_us=round(frame_us + each_us * elements)))


def test_what_a_codec_costs_a_frame_and_an_element_is_found(here, digits_server, monkeypatch):
    spent, encode = [], codecs.encode

    def stated(name, boundary, tensors):
        frame_us, each_us = STATED.get(name, OTHERS)
        spent[:] = [frame_us + each_us * sum(tensor.size for tensor in tensors)]
        return encode(name, boundary, tensors)

    def timed(call, *_):
        spent[:] = [100.0]
        call()
        return spent[0]

    monkeypatch.setattr(codecs, "encode", stated)
    monkeypatch.setattr("hybrid_batch.inference.planner.profile.local_profiler._time", timed)
    with StatedTail(HttpExchange(digits_server.url), here.bundle) as tail:
        costs = measure(replace(here, tail=tail, address=digits_server.url), sample_of(here), budget_s=0).codecs
    for name in ("q4", "fp16"):
        frame_us, each_us = STATED.get(name, OTHERS)
        assert (costs[name].encode_frame_us, costs[name].encode_us) == pytest.approx((frame_us, each_us))
        assert (costs[name].decode_frame_us, costs[name].decode_us) == pytest.approx((frame_us, each_us), rel=0.02)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 4}',
        '{"format": 99}',
        '{"format": 4, "tail": null, "device": 7}',
        "[" * 100_000,
    ],
)
def test_a_damaged_profile_is_told_in_a_sentence_and_measured_again(here, content):
    path = path_of(here)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    said: list[str] = []
    open_profile(here, said.append, budget_s=0)
    assert len(said) == 2
    assert "cannot be used" in said[0]
    assert json.loads(path.read_text())["format"] == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [("cores", "on 999 cores"), ("slower", "took"), ("batches", "batches [1, 8]"), ("codecs", "lacks codecs")],
)
def test_a_profile_that_is_no_longer_true_is_measured_again(here, change, words):
    open_profile(here, lambda _: None, budget_s=0)
    path = path_of(here)
    stored = json.loads(path.read_text())
    if change == "cores":
        stored["device"]["cores"] = 999
    if change == "slower":
        stored["times"]["1"]["points"][-1][1] = 1e6
    if change == "codecs":
        del stored["codecs"]["q4"]
    path.write_text(json.dumps(stored))
    said: list[str] = []
    subject = replace(here, batch_size=2) if change == "batches" else here
    open_profile(subject, said.append, budget_s=0)
    assert words in said[0]
    assert said[0].endswith("measuring again.")


def test_a_tail_that_is_another_one_now_is_measured_again(here, digits_server):
    """Its speed, whatever the address says; but not where its word was not believed."""
    said: list[str] = []
    with http_tail(digits_server.url, here.bundle) as tail:
        subject = replace(here, tail=tail, address=digits_server.url)
        open_profile(subject, said.append, budget_s=0)
        path = path_of(subject)
        stored = json.loads(path.read_text())
        stored["tail"]["times"]["1"]["points"][-1][1] = 1e6
        path.write_text(json.dumps(stored | {"tail": stored["tail"] | {"notes": ["It lies."]}}))
        assert open_profile(subject, said.append, budget_s=0).tail.times[1].points[-1][1] == 1e6
        assert len(said) == 1
        path.write_text(json.dumps(stored))
        assert open_profile(subject, said.append, budget_s=0).tail.times[1].points[-1][1] < 1e6
    assert said[1].startswith(f"An image takes {digits_server.url} ")
    assert said[1].endswith("ms now and took 1000.00 ms then; measuring again.")


def test_a_profile_that_is_reused_knows_how_much_the_tail_takes_at_once(here, serve):
    """The frames that tell the link's rate grow to a megabyte."""
    server, said = serve("digits", "--max-request-mb", "1"), []
    for _ in range(2):
        with http_tail(server.url, here.bundle) as tail:
            profile = open_profile(replace(here, tail=tail, address=server.url), said.append, budget_s=0)
        assert profile.tail.room == 1 << 20
    assert len(said) == 1


def test_a_tail_and_the_link_to_it_are_measured(here, digits_server):
    with http_tail(digits_server.url, here.bundle) as tail:
        profile = measure(replace(here, tail=tail, address=digits_server.url), sample_of(here), budget_s=2)
    assert profile.tail is not None
    assert tuple(profile.tail.times) == (1, 8)
    assert all(curve.points[-1][1] > 0 for curve in profile.tail.times.values())
    assert profile.tail.link.rate_bps > 1e6
    assert profile.tail.link.round_trip_us > 0
    assert 5 < profile.tail.picture_us < 1e6
    assert 0 < profile.tail.ask_us < 1e6
    assert 0 < profile.tail.answer_us < 1e6
    assert all(cost.decode_us >= 0 for cost in profile.codecs.values())


class LyingTail(ServedTail):
    """The real server, all of whose answers take ten seconds, of which it says that they were a thousand."""

    def infer(self, cut_id, frame):
        answer = super().infer(cut_id, frame)
        return replace(answer, times=replace(answer.times, tail_us=10**9), round_trip_us=10**7)


@pytest.mark.parametrize(("while_it_works", "shares"), [([100, 200] * 3, True), ([100, 200, 100, 110], False)])
def test_a_tail_whose_work_slows_work_here_shares_the_cores(here, digits_server, while_it_works, shares):
    """Alone and while the tail works, three times: strangers slow work too, but not always."""
    told = iter(while_it_works)
    with http_tail(digits_server.url, here.bundle) as tail:
        subject = replace(here, tail=tail, address=digits_server.url)
        found = measure_there(subject, tail, sample_of(here).files, ["fp16"], lambda: next(told), budget_s=0)
    assert found.speed.shares_cores is shares
    assert not list(told)


def test_a_tail_that_tells_impossible_times_is_not_believed(here, digits_server):
    with LyingTail(HttpExchange(digits_server.url), here.bundle) as tail:
        profile = measure(replace(here, tail=tail, address=digits_server.url), sample_of(here), budget_s=0)
    (note,) = profile.tail.notes
    assert "the round trips are believed instead" in note
    assert profile.tail.times[8].points[-1][1] < 10**7 / 8


def test_a_link_thought_too_slow_makes_nobody_a_liar():
    """What such a link would have taken of the trip leaves less for the tail than the tail truly took."""
    assert find_lie({32: {9.0: 5000.0}}, {32: {9.0: 0.0}}, {32: 200_000.0}, 9.0) is None
    assert "answers after 100.0 ms" in find_lie({32: {9.0: 5000.0}}, {32: {9.0: 0.0}}, {32: 100_000.0}, 9.0)
    assert "they take 160.0 ms" in find_lie({32: {9.0: 100.0}}, {32: {9.0: 5000.0}}, {32: 200_000.0}, 9.0)


def test_a_tail_nobody_answers_at_is_told_before_anything_is_measured(here):
    address = f"http://127.0.0.1:{free_port()}"
    with (
        http_tail(address, here.bundle, TailSettings(patience=Patience(attempts=1))) as tail,
        pytest.raises(TailUnreachable, match=f"No answer from {address}"),
    ):
        open_profile(replace(here, tail=tail, address=address), lambda _: None)


def test_a_tail_that_dies_while_it_is_measured_is_told(here, serve):
    server = serve("digits")

    class Dying(ServedTail):
        left = 12

        def infer(self, cut_id, frame):
            self.left -= 1
            if not self.left:
                server.process.kill()
                server.process.wait()
            return super().infer(cut_id, frame)

    settings = TailSettings(patience=Patience(attempts=1))
    with Dying(HttpExchange(server.url), here.bundle, settings) as tail, pytest.raises(TailUnreachable):
        measure(replace(here, tail=tail, address=server.url), sample_of(here), budget_s=1)


def test_the_commands_print_tables_and_json(capsys, tmp_path, monkeypatch, digits_server):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    arguments = ["digits", "--tail", digits_server.url, "--batch-size", "8"]
    assert main(["profile", *arguments, "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)
    assert profile["tail"]["link"]["rate_bps"] > 0
    assert main(["profile", *arguments]) == 0
    assert "Mbit/s" in capsys.readouterr().out
    drawing = tmp_path / "plan.png"
    assert main(["plan", *arguments, "--objective", "latency", "--json", "--plot", str(drawing)]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {row["cut"] for row in plan["candidates"]} >= {"local", "c000", "c005"}
    assert {row["codec"] for row in plan["candidates"]} == {"none", "fp16", "image", "jpeg90", "jpeg75"}
    assert plan["chosen"]["codec"] not in ("jpeg90", "jpeg75")
    kept = [row["latency_us"] for row in plan["candidates"] if not row["codec"].startswith("jpeg")]
    assert plan["chosen"]["latency_us"] <= 1.03 * min(kept)
    assert drawing.read_bytes().startswith(b"\x89PNG")
    assert main(["plan", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "all local" in printed
    assert printed.splitlines()[-1].endswith(".")
    heading = next(line.split() for line in printed.splitlines() if line.lstrip().startswith("plan "))
    assert heading[2:8] == ["batch", "decode", "head", "encode", "link", "tail"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--min-cut", "poool"], 2, "did you mean"),
        (["--min-rate", "1e12"], 2, "No plan reaches --min-rate 1e+12"),
        (["--prices", "none.toml"], 2, "none.toml is no table of prices"),
        (["--plot", "/no/such/folder/plan.png"], 2, "Cannot draw to /no/such/folder/plan.png"),
        (["--tail", f"http://127.0.0.1:{free_port()}"], 1, "No answer from"),
    ],
)
def test_what_cannot_be_planned_gets_one_sentence(capsys, arguments, code, words):
    assert main(["plan", "digits", "--batch-size", "8", *arguments]) == code
    told = capsys.readouterr().err.splitlines()
    lines = [line for line in told if not line.startswith("Measuring") and not line.endswith("measuring again.")]
    assert len(lines) == 1
    assert words in lines[0]


def test_a_rate_is_told_where_bytes_take_time_and_bounded_where_they_do_not():
    steady = [(5_000.0, 100), (5_010.0, 100), (5_100.0, 100), (60_000.0, 100)]
    link = link_of(steady, (5_000.0 + 80_000, 100 + 100_000))
    assert link == Link(10e6, 5_000 - 80, at_least=False)
    assert link.told == "10 Mbit/s"
    queue = [(20_000.0, 100), (25_000.0, 100), (60_000.0, 100), (90_000.0, 100)]
    for large_us in (15_000.0, 20_000.0, 50_000.0):
        link = link_of(queue, (large_us, 100 + 500_000))
        assert link.told == "at least 100 Mbit/s"
        assert link.round_trip_us == 20_000 - 8
    assert not link_of(queue, (70_000.0, 100 + 500_000)).at_least


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1, "7", None, [], {}, True], ids=repr)
def test_no_number_of_a_profile_may_be_something_else(wrong):
    """What a disk or a hand did to the file is found when it is read, not when a plan is made of it."""
    good = json.loads(json.dumps(profile_of(2000, 1000, 1e6).to_dict()))
    assert Profile.from_dict(good) == profile_of(2000, 1000, 1e6)
    shown_alone = {"measured_at", "frequency_mhz", "load", "battery"}
    numbers = [path for path in paths(good) if path[-1] not in shown_alone]
    assert len(numbers) > 20
    for path in numbers:
        changed = copy.deepcopy(good)
        place = reduce(getitem, path[:-1], changed)
        place[path[-1]] = wrong
        with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
            Profile.from_dict(changed)
            pytest.fail(f"{wrong!r} was read at {path}")


def paths(stored, at=()):
    """Of every number."""
    if isinstance(stored, dict | list):
        for key, value in stored.items() if isinstance(stored, dict) else enumerate(stored):
            yield from paths(value, (*at, key))
    elif isinstance(stored, int | float) and not isinstance(stored, bool):
        yield at
