"""Runs that follow the link, with real servers that die, return, change, and links that do."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.link import Conditions, open_link
from hybrid_batch.data.images.images import Images, find_images
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.inference.model.bundle import Bundle, read_bundle, write_bundle
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.planner.adapt.adaptive_router import Follower
from hybrid_batch.inference.planner.adapt.deferred_router import Joining
from hybrid_batch.inference.planner.adapt.link_estimator import Seen, Watch
from hybrid_batch.inference.planner.plan.candidates import Conditions as ConditionsNow
from hybrid_batch.inference.planner.plan.plan import Wishes
from hybrid_batch.inference.planner.profile.piecewise_linear import Curve
from hybrid_batch.inference.planner.profile.profile import Link, Profile
from hybrid_batch.inference.protocol.infer_response import Answer
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.runner import Job, Pace, run_shards
from hybrid_batch.inference.runner.split import HERE, Split
from hybrid_batch.inference.tails.http import http_tail
from hybrid_batch.inference.tails.local import LocalTail
from hybrid_batch.inference.tails.remote import ServedTail
from hybrid_batch.inference.tails.retry_policy import Patience
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import COMMAND, HANG_S, ROOT, free_port
from tests.planner.made_profiles import profile_of
from tests.scripted import Script, reply

IMAGES = ROOT / "data" / "digits" / "images"


class Steady(Watch):
    """Finds machine, tail and link as the profile says they are, whatever this machine has to do besides."""

    def __init__(self, profile: Profile, in_flight: int = 4) -> None:
        super().__init__(profile, in_flight)
        self._stated = profile.tail.link

    @property
    def conditions(self) -> ConditionsNow:
        return ConditionsNow(self._stated, 1.0, 1.0)


@pytest.fixture
def steady(monkeypatch) -> None:
    monkeypatch.setattr("hybrid_batch.inference.planner.adapt.adaptive_router.Watch", Steady)


class Quick(Watch):
    """Finds machine and tail as the profile says they are, and a link of 100 Mbit/s."""

    def head(self, factor: float) -> None:
        super().head(1.0)

    def answer(self, seen: Seen, link_us: float) -> None:
        sent = seen.transfer
        took_us = 8 * (sent.sent_bytes + sent.received_bytes) / 100
        transfer = replace(sent, end_us=sent.start_us + took_us)
        super().answer(replace(seen, tail_us=seen.told_tail_us, transfer=transfer), took_us)

    def tell(self, *_silence: float) -> None:
        super().tell()


Gate = tuple[int, Callable[[], object]]


class Paced:
    """The pictures' folder, where one can be read when all but the last few before it are done, so that whatever the
    machine does the tail is never full; and those from the gate's place on not before it is open."""

    def __init__(self, images: Images, gate: Gate, ahead: int = 24) -> None:
        self._root, self._ahead, (self._from, self._open) = images.root, ahead, gate
        self._places = {name: place for place, name in enumerate(images.table["image"].to_pylist())}
        self.done = 0

    def __getattr__(self, name):
        return getattr(self._root, name)

    def read(self, name, limit=None):
        place, end = self._places[name], time.monotonic() + HANG_S
        while self.done < place - self._ahead or (place >= self._from and not self._open()):
            assert time.monotonic() < end, f"picture {place} was never due"
            time.sleep(0.002)
        return self._root.read(name, limit)


class Tails:
    """Starts and kills servers on one port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, model: str = "digits") -> None:
        self.kill()
        command = [*COMMAND, "serve", model, "--port", str(self.port)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert b"Serving" in self.process.stderr.readline()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()
            self.process = None


@pytest.fixture
def tails():
    made = Tails()
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_model("digits")


def stated(bundle: Bundle, head_us: float, tail_us: float, rate_bps: float) -> Profile:
    """A profile of the sample model that says so, whatever this machine does."""
    made = profile_of(head_us, tail_us, rate_bps, round_trip_us=3000, picture_bytes=150)
    total = float(bundle.whole.tail_macs)

    def line(us: float) -> dict[int, Curve]:
        return {1: Curve(((0.0, 0.0), (total, us))), 8: Curve(((0.0, 0.0), (total, us)))}

    return replace(made, times=line(head_us), tail=replace(made.tail, times=line(tail_us)))


OPEN: Gate = (0, lambda: True)


def follow(
    bundle: Bundle, profile: Profile, url: str, log: Path, watch: Callable[[int], None] = lambda _: None, *,
    gate: Callable[[list[str], Follower | Joining], Gate] = lambda *_: OPEN,
    wishes: Wishes | None = None, joining: bool = False, answer_s: float = HANG_S,
) -> tuple[list[dict], list[str], Follower]:  # fmt: skip
    """Run the sample; its records, what was said, and who followed, or with `joining` would once the tail answers.
    `watch` hears how many are done, and `gate` makes the gate of what is said and who follows."""
    said: list[str] = []
    engine = open_engine("openvino", bundle)
    found = find_images(str(IMAGES))
    images = Images(found.root, label_images(found.table, "folders", bundle.labels).table)
    folder = RunFolder(open_storage(str(log / "run=x")))
    settings = TailSettings(4, Patience(connect_s=HANG_S, answer_s=answer_s, attempts=1))
    with http_tail(url, bundle, settings) as tail:
        follower = Follower(bundle, profile, wishes or Wishes(min_cut="c003"), tail, said.append)
        first = Joining(tail, engine, 8, lambda _: follower, said.append) if joining else follower
        paced = Paced(images, gate(said, first))

        def count(batch: Batch) -> None:
            watch(paced.done + len(batch.images))
            paced.done += len(batch.images)

        job = Job(bundle, HERE, engine, tail, url, replace(images, root=paced), folder, 40, Pace(8), first)
        totals = run_shards(job, count)
    records = [record for shard in folder.parts() for record in folder.read_part(shard).to_pylist()]
    assert Counter(record["image"] for record in records) == dict.fromkeys(found.table["image"].to_pylist(), 1)
    assert totals.images == 360
    assert totals.accuracy >= 0.98
    return records, said, follower


def test_a_tail_that_dies_for_good_does_not_stop_the_run(steady, bundle, tails, tmp_path):
    def watch(done: int) -> None:
        if done >= 100:
            tails.kill()

    records, said, _ = follow(bundle, stated(bundle, 20_000, 1000, 1e8), tails.url, tmp_path, watch)
    assert {record["tail"] for record in records[:80]} == {tails.url}
    assert {record["tail"] for record in records[-80:]} == {"local"}
    assert {record["cut"] for record in records[-80:]} == {"local"}
    assert len(said) == 1
    assert "No answer from" in said[0]
    assert said[0].endswith("Going on here until it answers again.")


def test_a_tail_that_returns_gets_its_split_back(steady, bundle, tails, tmp_path):
    killed = False

    def watch(done: int) -> None:
        nonlocal killed
        if done >= 50 and not killed:
            killed = True
            tails.kill()
        if done >= 120 and tails.process is None:
            tails.start()

    profile = stated(bundle, 20_000, 1000, 1e8)
    records, said, _ = follow(
        bundle, profile, tails.url, tmp_path, watch,
        gate=lambda said, _: (160, lambda: said[-1:] == ["The tail answers again."]),
    )  # fmt: skip
    where = [record["tail"] == "local" for record in records]
    assert not any(where[:40])
    assert all(where[80:120])
    assert not any(where[-160:])
    assert said[-1] == "The tail answers again."


@pytest.fixture
def other_digits(bundle, tmp_path) -> Path:
    """The sample as a copy whose labels are in another order: its hash differs, its name does not."""
    other = tmp_path / "digits.bundle"
    shutil.copytree(bundle.path, other)
    written = write_bundle(
        replace(read_bundle(other), labels=tuple(reversed(bundle.labels))), bundle.graph_path.read_bytes()
    )
    assert json.loads((other / "bundle.json").read_text())["sha256"] == written.sha256 != bundle.sha256
    return other


def test_another_model_at_the_address_is_not_used(steady, bundle, tails, tmp_path, other_digits):
    def watch(done: int) -> None:
        if done == 80:
            tails.kill()
            tails.start(str(other_digits))

    records, said, _ = follow(
        bundle, stated(bundle, 20_000, 1000, 1e8), tails.url, tmp_path / "log", watch,
        gate=lambda said, _: (160, lambda: said and said[-1].endswith("Going on here.")),
    )  # fmt: skip
    assert {record["tail"] for record in records[:56]} == {tails.url}
    assert {record["tail"] for record in records[-80:]} == {"local"}
    assert "serve" in said[-1]
    assert said[-1].endswith("Going on here.")


def test_a_link_that_slows_down_and_an_outage_lose_nothing(bundle, tails, tmp_path):
    conditions = {80: Conditions(0.3, 2), 160: Conditions(0), 240: Conditions(100, 2)}

    def watch(done: int) -> None:
        for count in [count for count in conditions if done >= count]:
            link.change((0, conditions.pop(count)))

    with open_link("127.0.0.1", tails.port, (0, Conditions(100, 2))) as link:
        profile = stated(bundle, 20_000, 1000, 1e8)
        records, _, follower = follow(bundle, profile, link.url, tmp_path, watch, answer_s=8)
    assert {record["tail"] for record in records} == {link.url, "local"}
    assert follower.plan.candidates


def test_what_the_tail_has_no_time_for_stays_here(steady, bundle, tails, tmp_path, monkeypatch):
    """A tail that answers once for every two batches that others do: those are computed whole here meanwhile."""
    kept, left, changed = 0, 360, threading.Condition()

    def admit(follower: Follower, batch: Batch) -> Split:
        nonlocal kept, left
        split = admitted(follower, batch)
        with changed:
            kept, left = kept + (split.cut is None), left - len(batch.images)
            changed.notify_all()
        return split

    def infer(tail: ServedTail, cut_id: str, frame: Frame) -> Answer:
        nonlocal kept
        answer = inferred(tail, cut_id, frame)
        with changed:
            assert changed.wait_for(lambda: kept >= 2 or not left, HANG_S)
            kept -= 2
        return answer

    admitted, inferred = Follower.admit, ServedTail.infer
    monkeypatch.setattr(Follower, "admit", admit)
    monkeypatch.setattr(ServedTail, "infer", infer)
    monkeypatch.setattr(Paced, "read", lambda paced, name, limit=None: paced._root.read(name, limit))
    records, _, _ = follow(bundle, stated(bundle, 2000, 100, 5e5), tails.url, tmp_path)
    sent = sum(record["tail"] == tails.url for record in records)
    assert 20 < sent <= 360 / 3 + 4 * 8
    for record in records:
        assert (record["cut"] == "local") == (record["tail"] == "local") == (record["sent_bytes"] == 0)


def test_a_switch_changes_cut_codec_and_batch_between_batches(bundle, tails, tmp_path, monkeypatch):
    """The profile says that the link is slow; it is not. Until that is noticed pictures come one by one."""
    monkeypatch.setattr("hybrid_batch.inference.planner.adapt.adaptive_router.Watch", Quick)
    noticed = threading.Event()

    def gate(said: list[str], follower: Follower) -> Gate:
        def is_open() -> bool:
            if follower.switches:
                noticed.set()
            else:
                time.sleep(0.2)
            return True

        return 40, is_open

    profile = stated(bundle, 40_000, 10, 2e5)
    wishes = Wishes(min_cut="c001")
    records, said, follower = follow(bundle, profile, tails.url, tmp_path, gate=gate, wishes=wishes)
    assert noticed.is_set()
    assert follower.switches >= 1
    assert {record["cut"] for record in records} >= {"c008", "c001"}
    assert any("The link is" in line for line in said)


def test_the_smallest_cut_allowed_is_kept_to(bundle, tails, tmp_path):
    wishes = Wishes(min_cut="c006")
    records, _, _ = follow(bundle, stated(bundle, 20_000, 10, 1e9), tails.url, tmp_path, wishes=wishes)
    allowed = {cut.id for cut in bundle.cuts if cut.head_macs >= bundle.cut("c006").head_macs} | {"local"}
    assert {record["cut"] for record in records} <= allowed


def test_a_tail_that_appears_late_is_joined(steady, bundle, tails, tmp_path):
    tails.kill()

    def watch(done: int) -> None:
        if done >= 50 and tails.process is None:
            tails.start()

    profile = stated(bundle, 20_000, 1000, 1e8)
    records, said, _ = follow(
        bundle, profile, tails.url, tmp_path, watch, joining=True, gate=lambda _, first: (160, lambda: first._joined)
    )
    assert {record["tail"] for record in records[:40]} == {"local"}
    assert {record["tail"] for record in records[-160:]} == {tails.url}
    assert said == []


def test_another_model_that_appears_late_is_not_joined(bundle, tails, tmp_path, other_digits):
    tails.start(str(other_digits))
    profile = stated(bundle, 20_000, 1000, 1e8)
    records, said, _ = follow(
        bundle, profile, tails.url, tmp_path / "log", joining=True, gate=lambda said, _: (40, lambda: said)
    )
    assert {record["tail"] for record in records} == {"local"}
    assert len(said) == 1
    assert said[0].endswith("serve the same bundle there. Going on here.")


def test_a_run_without_a_tail_at_its_start_goes_on_here_and_one_with_a_fixed_split_does_not(tmp_path, capsys):
    from hybrid_batch.cli import main

    nobody = f"http://127.0.0.1:{free_port()}"
    command = ["run", str(IMAGES), "--tail", nobody, "--log", str(tmp_path), "--json"]
    assert main(command) == 0
    out, said = capsys.readouterr()
    assert json.loads(out)["cuts"] == {"local none": 360}
    assert said.count("No answer from") == 1
    assert "Starting here until it answers." in said
    assert main([*command, "--split", "c004"]) == 1


def test_no_more_is_meant_for_the_tail_than_may_be_on_its_way(bundle):
    """What waits for its turn to be sent would stand before those that are computed here."""
    far = stated(bundle, 20_000, 10, 1e9)
    far = replace(far, tail=replace(far.tail, link=Link(1e9, 2_000_000)))
    with http_tail("http://127.0.0.1:1", bundle) as tail:
        follower = Follower(bundle, far, Wishes(min_cut="c003", in_flight=2), tail, lambda _: None)
        splits = []
        batches = [Batch(0, ["a.png"] * 8, [None] * 8, [100] * 8, last=False) for _ in range(10)]
        follower._left = 10_000
        for batch in batches:
            batch.split = follower.route().split
            splits.append(follower.admit(batch).cut)
    assert len([cut for cut in splits if cut is not None]) == 2


def test_after_an_interrupt_nothing_more_is_computed_here(bundle, tmp_path, monkeypatch):
    """A batch that was waited for in vain would be, while the interpreter ends."""
    computed: list[float] = []
    infer = LocalTail.infer

    def noted(self, cut_id, frame):
        computed.append(time.monotonic())
        return infer(self, cut_id, frame)

    monkeypatch.setattr(LocalTail, "infer", noted)
    metadata = json.dumps({"parameters": {"sha256": bundle.sha256}}).encode()
    silent = threading.Event()
    server = Script(reply(200, metadata), reply(200, b"{}"), lambda _: silent.wait(HANG_S) and b"")
    settings = TailSettings(4, Patience(connect_s=HANG_S, answer_s=HANG_S, attempts=1))
    found = find_images(str(IMAGES))
    folder = RunFolder(open_storage(str(tmp_path / "run=x")))

    def interrupt() -> None:
        while len(server.asked) < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    with http_tail(server.url, bundle, settings) as tail:
        follower = Follower(bundle, stated(bundle, 20_000, 1000, 1e8), Wishes(min_cut="c003"), tail, lambda _: None)
        engine = open_engine("openvino", bundle)
        images = Images(found.root, label_images(found.table, "folders", bundle.labels).table)
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            run_shards(
                Job(bundle, HERE, engine, tail, server.url, images, folder, 40, Pace(8), follower), lambda _: None
            )
    left = time.monotonic()
    senders = [thread for thread in threading.enumerate() if thread.name.startswith("send_")]
    assert senders
    silent.set()
    for sender in senders:
        sender.join(HANG_S)
    server.shutdown()
    server.server_close()
    assert not [at for at in computed if at > left]
