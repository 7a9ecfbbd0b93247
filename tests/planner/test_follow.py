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
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.link import Conditions, open_link
from data.images import Images, find_images
from data.labels import label_images
from data.runs import RunFolder
from data.storage import Storage, open_storage
from inference.batch import Batch
from inference.bundle import Bundle, read_bundle, write_bundle
from inference.engines import open_engine
from inference.models import open_model
from inference.planner.curve import Curve
from inference.planner.follow import Follower
from inference.planner.joining import Joining
from inference.planner.plan import Wishes
from inference.planner.profile import Link, Profile
from inference.runner import Job, Pace, run_shards
from inference.split import HERE
from inference.tails.http import http_tail
from inference.tails.local import LocalTail
from inference.tails.patience import Patience
from inference.tails.settings import TailSettings
from tests.conftest import COMMAND, ROOT, free_port
from tests.planner.made_profiles import profile_of
from tests.scripted import Script, reply

IMAGES = ROOT / "data" / "digits" / "images"


@dataclass
class SlowRoot:
    """The pictures' folder, each read taking a while, so that a run of small pictures lasts."""

    root: Storage
    pause_s: float

    def __getattr__(self, name):
        return getattr(self.root, name)

    def read(self, name, limit=None):
        time.sleep(self.pause_s)
        return self.root.read(name, limit)


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


def follow(
    bundle: Bundle, profile: Profile, url: str, log: Path, watch: Callable[[Batch], None] = lambda _: None, *,
    pause_s: float = 0.01, wishes: Wishes | None = None, joining: bool = False,
) -> tuple[list[dict], list[str], Follower]:  # fmt: skip
    """Run the sample; its records, what was said, and who followed, or with `joining` would once the tail answers."""
    said: list[str] = []
    engine = open_engine("openvino", bundle)
    found = find_images(str(IMAGES))
    images = Images(SlowRoot(found.root, pause_s), label_images(found.table, "folders", bundle.labels).table)
    folder = RunFolder(open_storage(str(log / "run=x")))
    settings = TailSettings(4, Patience(connect_s=2, answer_s=5, attempts=1))
    with http_tail(url, bundle, settings) as tail:
        follower = Follower(bundle, profile, wishes or Wishes(min_cut="c003"), tail, said.append)
        first = Joining(tail, 8, lambda: follower, said.append) if joining else follower
        job = Job(bundle, HERE, engine, tail, url, images, folder, 40, Pace(8), first)
        totals = run_shards(job, watch)
    records = [record for shard in folder.parts() for record in folder.read_part(shard).to_pylist()]
    assert Counter(record["image"] for record in records) == dict.fromkeys(found.table["image"].to_pylist(), 1)
    assert totals.images == 360
    assert totals.accuracy >= 0.98
    return records, said, follower


def test_a_tail_that_dies_for_good_does_not_stop_the_run(bundle, tails, tmp_path):
    done = 0

    def watch(batch: Batch) -> None:
        nonlocal done
        done += len(batch.images)
        if done >= 100:
            tails.kill()

    records, said, _ = follow(bundle, stated(bundle, 20_000, 1000, 1e8), tails.url, tmp_path, watch)
    assert sum(record["tail"] == tails.url for record in records[:80]) > 40
    assert {record["tail"] for record in records[-80:]} == {"local"}
    assert {record["cut"] for record in records[-80:]} == {"local"}
    assert len(said) == 1
    assert "No answer from" in said[0]
    assert said[0].endswith("Going on here until it answers again.")


def test_a_tail_that_returns_gets_its_split_back(bundle, tails, tmp_path):
    done, killed = 0, 0.0

    def watch(batch: Batch) -> None:
        nonlocal done, killed
        done += len(batch.images)
        if done >= 50 and not killed:
            killed = time.monotonic()
            tails.kill()
        if killed and tails.process is None and done >= 80:
            tails.start()

    profile = stated(bundle, 20_000, 1000, 1e8)
    records, said, _ = follow(bundle, profile, tails.url, tmp_path, watch, pause_s=0.04)
    where = [record["tail"] == "local" for record in records]
    assert sum(where[:40]) < 20
    assert sum(where) >= 8
    assert sum(where[-40:]) < 20
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


def test_another_model_at_the_address_is_not_used(bundle, tails, tmp_path, other_digits):
    done = 0

    def watch(batch: Batch) -> None:
        nonlocal done
        done += len(batch.images)
        if done == 80:
            tails.kill()
            tails.start(str(other_digits))

    records, said, _ = follow(bundle, stated(bundle, 20_000, 1000, 1e8), tails.url, tmp_path / "log", watch)
    assert {record["tail"] for record in records[-80:]} == {"local"}
    assert "serve" in said[-1]
    assert said[-1].endswith("Going on here.")


def test_a_link_that_slows_down_and_an_outage_lose_nothing(bundle, tails, tmp_path):
    fast, slow, none = Conditions(100, 2), Conditions(0.3, 2), Conditions(0)
    with open_link("127.0.0.1", tails.port, (0, fast), (1.0, slow), (2.0, none), (3.0, fast)) as link:
        records, _, follower = follow(bundle, stated(bundle, 20_000, 1000, 1e8), link.url, tmp_path, pause_s=0.03)
    assert {record["tail"] for record in records} == {link.url, "local"}
    assert follower.plan.candidates


def test_what_the_tail_has_no_time_for_stays_here(bundle, tails, tmp_path):
    """A link that carries a part of the images only: the others are computed whole here meanwhile."""
    with open_link("127.0.0.1", tails.port, (0, Conditions(0.5, 2))) as link:
        records, _, _ = follow(bundle, stated(bundle, 2000, 100, 5e5), link.url, tmp_path, pause_s=0.004)
    sent = sum(record["tail"] == link.url for record in records)
    assert 20 < sent < 340
    for record in records:
        assert (record["cut"] == "local") == (record["tail"] == "local") == (record["sent_bytes"] == 0)


def test_a_switch_changes_cut_codec_and_batch_between_batches(bundle, tails, tmp_path):
    """The profile says that the link is slow; it is not."""
    profile = stated(bundle, 40_000, 10, 2e5)
    wishes = Wishes(min_cut="c001")
    records, said, follower = follow(bundle, profile, tails.url, tmp_path, pause_s=0.02, wishes=wishes)
    assert follower.switches >= 1
    assert {record["cut"] for record in records} >= {"c008", "c001"}
    assert any("The link is" in line for line in said)


def test_the_smallest_cut_allowed_is_kept_to(bundle, tails, tmp_path):
    wishes = Wishes(min_cut="c006")
    records, _, _ = follow(bundle, stated(bundle, 20_000, 10, 1e9), tails.url, tmp_path, wishes=wishes, pause_s=0.002)
    allowed = {cut.id for cut in bundle.cuts if cut.head_macs >= bundle.cut("c006").head_macs} | {"local"}
    assert {record["cut"] for record in records} <= allowed


def test_a_tail_that_appears_late_is_joined(bundle, tails, tmp_path):
    tails.kill()
    done = 0

    def watch(batch: Batch) -> None:
        nonlocal done
        done += len(batch.images)
        if done >= 50 and tails.process is None:
            tails.start()

    profile = stated(bundle, 20_000, 1000, 1e8)
    records, said, _ = follow(bundle, profile, tails.url, tmp_path, watch, pause_s=0.03, joining=True)
    assert {record["tail"] for record in records[:40]} == {"local"}
    assert sum(record["tail"] == tails.url for record in records[-80:]) > 40
    assert said == []


def test_another_model_that_appears_late_is_not_joined(bundle, tails, tmp_path, other_digits):
    tails.start(str(other_digits))
    profile = stated(bundle, 20_000, 1000, 1e8)
    records, said, _ = follow(bundle, profile, tails.url, tmp_path / "log", joining=True)
    assert {record["tail"] for record in records} == {"local"}
    assert len(said) == 1
    assert said[0].endswith("serve the same bundle there. Going on here.")


def test_a_run_without_a_tail_at_its_start_goes_on_here_and_one_with_a_fixed_split_does_not(tmp_path, capsys):
    import hybrid_batch

    nobody = f"http://127.0.0.1:{free_port()}"
    command = ["run", str(IMAGES), "--tail", nobody, "--log", str(tmp_path), "--json"]
    assert hybrid_batch.run(command) == 0
    out, said = capsys.readouterr()
    assert json.loads(out)["cuts"] == {"local none": 360}
    assert said.count("No answer from") == 1
    assert "Starting here until it answers." in said
    assert hybrid_batch.run([*command, "--split", "c004"]) == 1


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
    server = Script(reply(200, metadata), reply(200, b"{}"), lambda _: silent.wait(20) and b"")
    settings = TailSettings(4, Patience(connect_s=2, answer_s=20, attempts=1))
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
        sender.join(20)
    server.shutdown()
    server.server_close()
    assert not [at for at in computed if at > left]
