"""Profiles of the sample model, measured with real servers, and damaged or outdated profiles in the cache."""

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
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.planner.profile.local_profiler import fit_affine
from hybrid_batch.inference.planner.profile.profile import Link, Profile
from hybrid_batch.inference.planner.profile.profile_store import measure_profile, open_profile, profile_path
from hybrid_batch.inference.planner.profile.remote_profiler import TailSample, fit_link, measure_remote, timing_mismatch
from hybrid_batch.inference.planner.profile.sample import ImageSample, take_sample
from hybrid_batch.inference.planner.profile.target import ProfileTarget
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.tails.http import HttpTransport, open_http_tail
from hybrid_batch.inference.tails.local import LocalTail
from hybrid_batch.inference.tails.remote import RemoteTail
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings
from tests.conftest import ROOT, free_port
from tests.factories.profiles import profile_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle():
    return resolve_model("digits")


@pytest.fixture(scope="module")
def runtime(bundle):
    return open_runtime("openvino", bundle)


@pytest.fixture
def local(bundle, runtime, tmp_path, monkeypatch) -> ProfileTarget:
    """A target without a tail, on a machine whose speed seems constant whatever its load."""
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    monkeypatch.setattr("hybrid_batch.inference.planner.profile.profile_store._CHANGED_US", 100_000.0)
    return ProfileTarget(bundle, runtime, None, "", 8)


def sample_of(target: ProfileTarget) -> ImageSample:
    return take_sample(target.bundle.preprocessing, target.images)


def path_of(target: ProfileTarget) -> Path:
    return profile_path(target, sample_of(target).stats)


def test_images_of_another_size_have_another_profile(local):
    """The profile holds the cost of uploading them."""
    lines: list[str] = []
    small = replace(local, images=find_images(str(ROOT / "data" / "digits" / "images")))
    open_profile(local, lines.append, budget_s=0)
    open_profile(small, lines.append, budget_s=0)
    assert len(lines) == 2
    open_profile(small, lines.append, budget_s=0)
    profile = open_profile(local, lines.append, budget_s=0)
    assert len(lines) == 2
    assert profile.images.bytes > 10_000
    assert path_of(local) != path_of(small)


def test_a_profile_is_measured_once_and_then_reused(local):
    lines: list[str] = []
    first = open_profile(local, lines.append, budget_s=1)
    assert len(lines) == 1
    assert tuple(first.times) == (1, 8)
    assert all(curve.at(local.bundle.input_cut.tail_macs) > 0 for curve in first.times.values())
    assert set(first.codecs) >= {"fp32", "fp16", "int8"}
    assert first.codecs["fp16"].bytes.at(0) == 2
    assert 0 < first.images.jpeg["jpeg75"][0] <= first.images.jpeg["jpeg90"][0]
    again = open_profile(local, lines.append)
    assert again.times == first.times
    assert len(lines) == 1


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
def test_costs_per_element_and_per_frame_are_fitted(frames, found):
    assert fit_affine(frames) == found


GIVEN = {"q4": (1500.0, 0.5)}  # µs per frame and per element
OTHERS = (50.0, 0.25)


class GivenTail(RemoteTail):
    """The real server with given decoding times."""

    def infer(self, cut_id, frame):
        answer, tensor = super().infer(cut_id, frame), frame.tensors[0]
        elements = self._bundle.cut(cut_id).elements * len(answer.scores)
        frame_us, element_us = GIVEN.get(tensor.parameters.get("codec"), OTHERS)
        return replace(answer, timings=replace(answer.timings, decode_us=round(frame_us + element_us * elements)))


def test_a_codecs_costs_per_frame_and_per_element_are_measured(local, digits_server, monkeypatch):
    spent, encode = [], wire_tensors.encode

    def given(name, boundary, tensors):
        frame_us, element_us = GIVEN.get(name, OTHERS)
        spent[:] = [frame_us + element_us * sum(tensor.size for tensor in tensors)]
        return encode(name, boundary, tensors)

    def timed(call, *_):
        spent[:] = [100.0]
        call()
        return spent[0]

    monkeypatch.setattr(wire_tensors, "encode", given)
    monkeypatch.setattr("hybrid_batch.inference.planner.profile.local_profiler._fastest_call_us", timed)
    with GivenTail(HttpTransport(digits_server.url), local.bundle) as tail:
        costs = measure_profile(
            replace(local, tail=tail, address=digits_server.url), sample_of(local), budget_s=0
        ).codecs
    for name in ("q4", "fp16"):
        frame_us, element_us = GIVEN.get(name, OTHERS)
        assert (costs[name].encode_frame_us, costs[name].encode_us) == pytest.approx((frame_us, element_us))
        assert (costs[name].decode_frame_us, costs[name].decode_us) == pytest.approx((frame_us, element_us), rel=0.02)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 6}',
        '{"format": 5}',
        '{"format": 6, "tail": null, "device": 7}',
        "[" * 100_000,
    ],
)
def test_a_damaged_profile_is_reported_in_a_sentence_and_measured_again(local, content):
    path = path_of(local)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    lines: list[str] = []
    open_profile(local, lines.append, budget_s=0)
    assert len(lines) == 2
    assert lines[0].startswith(f"The cached profile {path} is not readable (")
    assert lines[0].endswith("); measuring again.")
    assert json.loads(path.read_text())["format"] == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("cores", "999 as the number of cores"),
        ("slower", "(1000.00 ms in the cached profile)"),
        ("batches", "batch sizes [1, 8]"),
        ("codecs", "lacks new codecs"),
    ],
)
def test_a_profile_that_is_no_longer_valid_is_measured_again(local, change, words):
    open_profile(local, lambda _: None, budget_s=0)
    path = path_of(local)
    stored = json.loads(path.read_text())
    if change == "cores":
        stored["device"]["cores"] = 999
    if change == "slower":
        stored["times"]["1"]["points"][-1][1], stored["measured_at"] = 1e6, 0
    if change == "codecs":
        del stored["codecs"]["q4"]
    path.write_text(json.dumps(stored))
    lines: list[str] = []
    target = replace(local, batch_size=2) if change == "batches" else local
    open_profile(target, lines.append, budget_s=0)
    assert words in lines[0]
    assert lines[0].endswith("measuring again.")


def test_a_profile_that_is_minutes_old_is_kept_although_the_load_varies(local):
    lines: list[str] = []
    open_profile(local, lines.append, budget_s=0)
    path = path_of(local)
    stored = json.loads(path.read_text())
    stored["times"]["1"]["points"][-1][1] = 1e6
    path.write_text(json.dumps(stored))
    assert open_profile(local, lines.append, budget_s=0).times[1].points[-1][1] == 1e6
    assert "the load varies, so the plan is a guess" in lines[1]
    assert len(lines) == 2


def test_a_tail_whose_speed_changed_is_measured_again(local, digits_server):
    """But a tail whose reported times were implausible is not compared."""
    lines: list[str] = []
    with open_http_tail(digits_server.url, local.bundle) as tail:
        target = replace(local, tail=tail, address=digits_server.url)
        open_profile(target, lines.append, budget_s=0)
        path = path_of(target)
        stored = json.loads(path.read_text())
        stored["tail"]["times"]["1"]["points"][-1][1] = 1e6
        path.write_text(json.dumps(stored | {"tail": stored["tail"] | {"notes": ["Implausible."]}}))
        assert open_profile(target, lines.append, budget_s=0).tail.times[1].points[-1][1] == 1e6
        assert len(lines) == 1
        path.write_text(json.dumps(stored | {"measured_at": 0}))
        assert open_profile(target, lines.append, budget_s=0).tail.times[1].points[-1][1] < 1e6
    assert lines[1].startswith(f"{digits_server.url} now takes ")
    assert lines[1].endswith(" ms per image (1000.00 ms in the cached profile); measuring again.")


def test_a_reused_profile_has_the_tails_current_frame_limit(local, serve):
    """The frames that measure the link's rate grow to a megabyte."""
    server, lines = serve("digits", "--max-request-mb", "1"), []
    for _ in range(2):
        with open_http_tail(server.url, local.bundle) as tail:
            profile = open_profile(replace(local, tail=tail, address=server.url), lines.append, budget_s=0)
        assert profile.tail.max_frame_bytes == 1 << 20
    assert len(lines) == 1


def test_a_tail_and_the_link_to_it_are_measured(local, digits_server):
    with open_http_tail(digits_server.url, local.bundle) as tail:
        profile = measure_profile(replace(local, tail=tail, address=digits_server.url), sample_of(local), budget_s=2)
    assert profile.tail is not None
    assert tuple(profile.tail.times) == (1, 8)
    assert all(curve.points[-1][1] > 0 for curve in profile.tail.times.values())
    assert profile.tail.link.rate_bps > 1e6
    assert profile.tail.link.round_trip_us > 0
    assert 5 < profile.tail.image_decode_us < 1e6
    assert 0 < profile.tail.client_overhead_us < 1e6
    assert 0 < profile.tail.server_overhead_us < 1e6
    assert all(cost.decode_us >= 0 for cost in profile.codecs.values())


class ImplausibleTail(RemoteTail):
    """The real server; each response takes ten seconds and reports a thousand."""

    def infer(self, cut_id, frame):
        answer = super().infer(cut_id, frame)
        return replace(answer, timings=replace(answer.timings, tail_us=10**9), round_trip_us=10**7)


@pytest.mark.parametrize(("times_us", "shares"), [([100, 200] * 3, True), ([100, 200, 100, 110], False)])
def test_a_tail_whose_work_slows_local_work_shares_the_cores(local, digits_server, times_us, shares):
    """With the tail idle and busy, three times, because other processes slow local work too, but not always."""
    remaining = iter(times_us)
    with open_http_tail(digits_server.url, local.bundle) as tail:
        target = replace(local, tail=tail, address=digits_server.url)
        found = measure_remote(target, tail, sample_of(local).files, ["fp16"], lambda: next(remaining), budget_s=0)
    assert found.tail.shares_cores is shares
    assert not list(remaining)


def test_a_tail_in_this_process_shares_the_cores(local):
    target = replace(local, tail=LocalTail(local.bundle, local.runtime), address="local")
    found = measure_remote(target, target.tail, sample_of(local).files, ["fp16"], lambda: 100.0, budget_s=0)
    assert found.tail.shares_cores


def test_implausible_reported_times_are_replaced_by_measured_ones(local, digits_server):
    with ImplausibleTail(HttpTransport(digits_server.url), local.bundle) as tail:
        profile = measure_profile(replace(local, tail=tail, address=digits_server.url), sample_of(local), budget_s=0)
    (note,) = profile.tail.notes
    assert note.endswith(" ms; the measured times are used instead.")
    assert profile.tail.times[8].points[-1][1] < 10**7 / 8


@pytest.mark.parametrize(
    ("reported_us", "measured_us", "round_trip_us", "mismatch"),
    [
        # The estimated share of a slow link leaves less for the tail than the tail truly took.
        (160_000, 0, 200_000, None),
        (160_000, 0, 100_000, "reports 160.0 ms for a batch of 32, but replies after 100.0 ms"),
        (3200, 160_000, 200_000, "reports 3.2 ms for a batch of 32, but 160.0 ms were measured"),
        (140_000, 160_000, 200_000, None),
    ],
)
def test_reported_times_are_compared_with_the_round_trip(bundle, reported_us, measured_us, round_trip_us, mismatch):
    inner = TailSample(bundle.cuts[1], 32, 0, 160_000, 200_000)
    whole = TailSample(bundle.input_cut, 32, reported_us, measured_us, round_trip_us)
    assert timing_mismatch([inner, whole]) == mismatch


def test_a_tail_that_does_not_answer_is_reported_before_anything_is_measured(local):
    address = f"http://127.0.0.1:{free_port()}"
    with (
        open_http_tail(address, local.bundle, TailSettings(retries=RetryPolicy(attempts=1))) as tail,
        pytest.raises(TailUnreachable, match=f"No answer from {address}"),
    ):
        open_profile(replace(local, tail=tail, address=address), lambda _: None)


def test_a_tail_that_dies_during_the_measurement_is_reported(local, serve):
    server = serve("digits")

    class Dying(RemoteTail):
        left = 12

        def infer(self, cut_id, frame):
            self.left -= 1
            if not self.left:
                server.process.kill()
                server.process.wait()
            return super().infer(cut_id, frame)

    settings = TailSettings(retries=RetryPolicy(attempts=1))
    with Dying(HttpTransport(server.url), local.bundle, settings) as tail, pytest.raises(TailUnreachable):
        measure_profile(replace(local, tail=tail, address=server.url), sample_of(local), budget_s=1)


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
    assert plan["chosen"]["latency_us"] <= 1.05 * min(kept)
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
        (["--earliest-cut", "poool"], 2, "did you mean"),
        (["--min-rate", "1e12"], 2, "No plan reaches --min-rate 1e+12"),
        (["--prices", "none.toml"], 2, "Cannot read the prices in none.toml: No such file or directory"),
        (["--plot", "/no/such/folder/plan.png"], 2, "Cannot draw to /no/such/folder/plan.png"),
        (["--tail", f"http://127.0.0.1:{free_port()}"], 1, "No answer from"),
    ],
)
def test_an_impossible_plan_is_reported_in_one_sentence(capsys, arguments, code, words):
    assert main(["plan", "digits", "--batch-size", "8", *arguments]) == code
    printed = capsys.readouterr().err.splitlines()
    lines = [line for line in printed if not line.startswith("Measuring") and not line.endswith("measuring again.")]
    assert len(lines) == 1
    assert words in lines[0]


def test_a_rate_is_measured_where_bytes_take_time_and_bounded_where_they_do_not():
    steady = [(5_000.0, 100), (5_010.0, 100), (5_100.0, 100), (60_000.0, 100)]
    link = fit_link(steady, (5_000.0 + 80_000, 100 + 100_000))
    assert link == Link(10e6, 5_000 - 80, is_lower_bound=False)
    assert link.rate_text == "10 Mbit/s"
    queue = [(20_000.0, 100), (25_000.0, 100), (60_000.0, 100), (90_000.0, 100)]
    for large_us in (15_000.0, 20_000.0, 50_000.0):
        link = fit_link(queue, (large_us, 100 + 500_000))
        assert link.rate_text == "at least 100 Mbit/s"
        assert link.round_trip_us == 20_000 - 8
    assert not fit_link(queue, (70_000.0, 100 + 500_000)).is_lower_bound


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1, "7", None, [], {}, True], ids=repr)
def test_a_profile_with_any_invalid_number_is_refused(wrong):
    """A damaged file is detected when it is read, not when a plan is made."""
    good = json.loads(json.dumps(profile_of(2000, 1000, 1e6).to_dict()))
    assert Profile.from_json(json.dumps(good)) == profile_of(2000, 1000, 1e6)
    informative = {"measured_at", "frequency_mhz", "load", "battery"}
    numbers = [path for path in paths(good) if path[-1] not in informative]
    assert len(numbers) > 20
    for path in numbers:
        changed = copy.deepcopy(good)
        place = reduce(getitem, path[:-1], changed)
        place[path[-1]] = wrong
        with pytest.raises(ValueError):
            Profile.from_json(json.dumps(changed))
            pytest.fail(f"{wrong!r} was read at {path}")


def paths(stored, at=()):
    """The path of every number."""
    if isinstance(stored, dict | list):
        for key, value in stored.items() if isinstance(stored, dict) else enumerate(stored):
            yield from paths(value, (*at, key))
    elif isinstance(stored, int | float) and not isinstance(stored, bool):
        yield at
