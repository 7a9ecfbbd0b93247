"""Adaptive runs with real servers that die, return and change their model, and links that change their rate."""

import json
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
from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.bundle import Bundle, read_bundle, write_bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.planner.adapt.adaptive_router import AdaptiveRouter
from hybrid_batch.inference.planner.adapt.deferred_router import DeferredRouter
from hybrid_batch.inference.planner.adapt.link_estimator import LinkEstimator, Observation
from hybrid_batch.inference.planner.plan.cost_model import Conditions as ConditionsNow
from hybrid_batch.inference.planner.plan.plan import PlanRequest
from hybrid_batch.inference.planner.profile.piecewise_linear import PiecewiseLinear
from hybrid_batch.inference.planner.profile.profile import Link, Profile
from hybrid_batch.inference.protocol.infer_response import InferResponse
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.runner import RunSpec, run_shards
from hybrid_batch.inference.runner.split import LocalSplit, Split
from hybrid_batch.inference.tails.http import open_http_tail
from hybrid_batch.inference.tails.local import LocalTail
from hybrid_batch.inference.tails.remote import RemoteTail
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings
from tests.conftest import COMMAND, HANG_S, ROOT, free_port
from tests.factories.profiles import profile_of
from tests.scripted_server import ScriptedServer, reply

pytestmark = pytest.mark.slow

IMAGES = ROOT / "data" / "digits" / "images"


class Steady(LinkEstimator):
    """Always estimates the profile's conditions, whatever the load of this machine."""

    def __init__(self, profile: Profile, in_flight: int = 4) -> None:
        super().__init__(profile, in_flight)
        self._profiled = profile.tail.link

    @property
    def conditions(self) -> ConditionsNow:
        return ConditionsNow(self._profiled, 1.0, 1.0)


@pytest.fixture
def steady(monkeypatch) -> None:
    monkeypatch.setattr("hybrid_batch.inference.planner.adapt.estimator.LinkEstimator", Steady)


class FastLink(LinkEstimator):
    """Estimates the profile's speeds of machine and tail, and a link of 100 Mbit/s."""

    def observe_head(self, factor: float) -> None:
        super().observe_head(1.0)

    def observe_response(self, observation: Observation, link_us: float) -> None:
        sent = observation.transfer
        spent_us = 8 * (sent.sent_bytes + sent.received_bytes) / 100
        transfer = replace(sent, end_us=sent.start_us + spent_us)
        fast = replace(observation, tail_us=observation.predicted_tail_us, transfer=transfer)
        super().observe_response(fast, spent_us)

    def update(self, *_stall: float) -> None:
        super().update()


Gate = tuple[int, Callable[[], object]]


class PacedStorage:
    """The images' storage. An image can be read when at most 24 images before it are not done, so that the tail is
    never busy on any machine. Images from the gate's position on can be read when the gate is open."""

    def __init__(self, images: ImageSet, gate: Gate, ahead: int = 24) -> None:
        self._root, self._ahead, (self._from, self._open) = images.root, ahead, gate
        self._positions = {name: position for position, name in enumerate(images.table["image"].to_pylist())}
        self.done = 0

    def __getattr__(self, name):
        return getattr(self._root, name)

    def read(self, name, limit=None):
        position, deadline = self._positions[name], time.monotonic() + HANG_S
        while self.done < position - self._ahead or (position >= self._from and not self._open()):
            assert time.monotonic() < deadline, f"image {position} was never due"
            time.sleep(0.002)
        return self._root.read(name, limit)


class Server:
    """A server that can be started and killed, always on the same port."""

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
def server():
    server = Server()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return resolve_model("digits")


def given_profile(bundle: Bundle, head_us: float, tail_us: float, rate_bps: float) -> Profile:
    """A profile of the sample model with given times and rate."""
    profile = profile_of(head_us, tail_us, rate_bps, round_trip_us=3000, image_bytes=150)
    total = float(bundle.input_cut.tail_macs)

    def line(us: float) -> dict[int, PiecewiseLinear]:
        return {1: PiecewiseLinear(((0.0, 0.0), (total, us))), 8: PiecewiseLinear(((0.0, 0.0), (total, us)))}

    return replace(profile, times=line(head_us), tail=replace(profile.tail, times=line(tail_us)))


OPEN: Gate = (0, lambda: True)


def run_adaptively(
    bundle: Bundle, profile: Profile, url: str, log: Path, watch: Callable[[int], None] = lambda _: None, *,
    gate: Callable[[list[str], AdaptiveRouter | DeferredRouter], Gate] = lambda *_: OPEN,
    request: PlanRequest | None = None, deferred: bool = False, response_timeout_s: float = HANG_S,
) -> tuple[list[dict], list[str], AdaptiveRouter]:  # fmt: skip
    """Run the sample images; the records, the lines for the user, and the adaptive router, which takes over once the
    tail responds if `deferred`. `watch` is called with the number of images done; `gate` makes the gate from the lines
    and the run's router."""
    lines: list[str] = []
    runtime = open_runtime("openvino", bundle)
    found = find_images(str(IMAGES))
    images = ImageSet(found.root, label_images(found.table, "folders", bundle.labels).table)
    folder = RunFolder(open_storage(str(log / "run=x")))
    settings = TailSettings(4, RetryPolicy(connect_timeout_s=HANG_S, response_timeout_s=response_timeout_s, attempts=1))
    with open_http_tail(url, bundle, settings) as tail:
        router = AdaptiveRouter(bundle, profile, request or PlanRequest(earliest_cut="c003"), tail, lines.append)
        first = DeferredRouter(tail, runtime, 8, lambda _: router, lines.append) if deferred else router
        paced = PacedStorage(images, gate(lines, first))

        def count(batch: Batch) -> None:
            watch(paced.done + len(batch.images))
            paced.done += len(batch.images)

        spec = RunSpec(bundle, first, runtime, tail, url, replace(images, root=paced), folder, 40)
        totals = run_shards(spec, count)
    records = [record for shard in folder.parts() for record in folder.read_part(shard).to_pylist()]
    assert Counter(record["image"] for record in records) == dict.fromkeys(found.table["image"].to_pylist(), 1)
    assert totals.images == 360
    assert totals.accuracy >= 0.98
    return records, lines, router


def test_a_tail_that_dies_for_good_does_not_stop_the_run(steady, bundle, server, tmp_path):
    def watch(done: int) -> None:
        if done >= 100:
            server.kill()

    records, lines, _ = run_adaptively(bundle, given_profile(bundle, 20_000, 1000, 1e8), server.url, tmp_path, watch)
    assert {record["tail"] for record in records[:80]} == {server.url}
    assert {record["tail"] for record in records[-80:]} == {"local"}
    assert {record["cut"] for record in records[-80:]} == {"local"}
    assert len(lines) == 1
    assert "No answer from" in lines[0]
    assert lines[0].endswith("Running locally until the tail responds again.")


def test_a_tail_that_returns_is_used_again(steady, bundle, server, tmp_path):
    killed = False

    def watch(done: int) -> None:
        nonlocal killed
        if done >= 50 and not killed:
            killed = True
            server.kill()
        if done >= 120 and server.process is None:
            server.start()

    profile = given_profile(bundle, 20_000, 1000, 1e8)
    records, lines, _ = run_adaptively(
        bundle, profile, server.url, tmp_path, watch,
        gate=lambda lines, _: (160, lambda: lines[-1:] == ["The tail responds again."]),
    )  # fmt: skip
    where = [record["tail"] == "local" for record in records]
    assert not any(where[:40])
    assert all(where[80:120])
    assert not any(where[-160:])
    assert lines[-1] == "The tail responds again."


@pytest.fixture
def other_digits(bundle, tmp_path) -> Path:
    """A copy of the sample model with the labels in another order: the same name, another hash."""
    other = tmp_path / "digits.bundle"
    shutil.copytree(bundle.path, other)
    written = write_bundle(
        replace(read_bundle(other), labels=tuple(reversed(bundle.labels))), bundle.graph_path.read_bytes()
    )
    assert json.loads((other / "bundle.json").read_text())["sha256"] == written.sha256 != bundle.sha256
    return other


def test_another_model_at_the_address_is_not_used(steady, bundle, server, tmp_path, other_digits):
    def watch(done: int) -> None:
        if done == 80:
            server.kill()
            server.start(str(other_digits))

    records, lines, _ = run_adaptively(
        bundle, given_profile(bundle, 20_000, 1000, 1e8), server.url, tmp_path / "log", watch,
        gate=lambda lines, _: (160, lambda: lines and lines[-1].endswith("Running locally.")),
    )  # fmt: skip
    assert {record["tail"] for record in records[:56]} == {server.url}
    assert {record["tail"] for record in records[-80:]} == {"local"}
    assert "serve" in lines[-1]
    assert lines[-1].endswith("Running locally.")


def test_a_slow_link_and_an_outage_lose_nothing(bundle, server, tmp_path):
    conditions = {80: Conditions(0.3, 2), 160: Conditions(0), 240: Conditions(100, 2)}

    def watch(done: int) -> None:
        for count in [count for count in conditions if done >= count]:
            link.change((0, conditions.pop(count)))

    with open_link("127.0.0.1", server.port, (0, Conditions(100, 2))) as link:
        profile = given_profile(bundle, 20_000, 1000, 1e8)
        records, _, router = run_adaptively(bundle, profile, link.url, tmp_path, watch, response_timeout_s=8)
    assert {record["tail"] for record in records} == {link.url, "local"}
    assert router.plan.candidates


def test_batches_beyond_the_tails_capacity_run_locally(steady, bundle, server, tmp_path, monkeypatch):
    """The tail responds once for every two batches that run locally meanwhile."""
    kept, left, changed = 0, 360, threading.Condition()

    def admit(router: AdaptiveRouter, batch: Batch) -> Split:
        nonlocal kept, left
        split = admitted(router, batch)
        with changed:
            kept, left = kept + isinstance(split, LocalSplit), left - len(batch.images)
            changed.notify_all()
        return split

    def infer(tail: RemoteTail, cut_id: str, frame: Frame) -> InferResponse:
        nonlocal kept
        answer = inferred(tail, cut_id, frame)
        with changed:
            assert changed.wait_for(lambda: kept >= 2 or not left, HANG_S)
            kept -= 2
        return answer

    admitted, inferred = AdaptiveRouter.admit, RemoteTail.infer
    monkeypatch.setattr(AdaptiveRouter, "admit", admit)
    monkeypatch.setattr(RemoteTail, "infer", infer)
    monkeypatch.setattr(PacedStorage, "read", lambda paced, name, limit=None: paced._root.read(name, limit))
    records, _, _ = run_adaptively(bundle, given_profile(bundle, 2000, 100, 5e5), server.url, tmp_path)
    sent = sum(record["tail"] == server.url for record in records)
    assert 20 < sent <= 360 / 3 + 4 * 8
    for record in records:
        assert (record["cut"] == "local") == (record["tail"] == "local") == (record["sent_bytes"] == 0)


def test_a_switch_changes_cut_codec_and_batch_between_batches(bundle, server, tmp_path, monkeypatch):
    """The profile has a slow link, the real one is fast. Until that is detected images are read one by one."""
    monkeypatch.setattr("hybrid_batch.inference.planner.adapt.estimator.LinkEstimator", FastLink)
    switched = threading.Event()

    def gate(lines: list[str], router: AdaptiveRouter) -> Gate:
        def is_open() -> bool:
            if router.switches:
                switched.set()
            else:
                time.sleep(0.2)
            return True

        return 40, is_open

    profile = given_profile(bundle, 40_000, 10, 2e5)
    request = PlanRequest(earliest_cut="c001")
    records, lines, router = run_adaptively(bundle, profile, server.url, tmp_path, gate=gate, request=request)
    assert switched.is_set()
    assert router.switches >= 1
    assert {record["cut"] for record in records} >= {"c010", "c003"}
    assert any(line.startswith("The link now has ") and " before)" in line for line in lines)


def test_no_cut_before_the_earliest_is_used(bundle, server, tmp_path):
    request = PlanRequest(earliest_cut="c006")
    records, _, _ = run_adaptively(
        bundle, given_profile(bundle, 20_000, 10, 1e9), server.url, tmp_path, request=request
    )
    allowed = {cut.id for cut in bundle.cuts if cut.head_macs >= bundle.cut("c006").head_macs} | {"local"}
    assert {record["cut"] for record in records} <= allowed


def test_a_tail_that_starts_late_is_used(steady, bundle, server, tmp_path):
    server.kill()

    def watch(done: int) -> None:
        if done >= 50 and server.process is None:
            server.start()

    profile = given_profile(bundle, 20_000, 1000, 1e8)
    records, lines, _ = run_adaptively(
        bundle, profile, server.url, tmp_path, watch, deferred=True, gate=lambda _, first: (160, lambda: first._router)
    )
    assert {record["tail"] for record in records[:40]} == {"local"}
    assert {record["tail"] for record in records[-160:]} == {server.url}
    assert lines == []


def test_another_model_that_starts_late_is_not_used(bundle, server, tmp_path, other_digits):
    server.start(str(other_digits))
    profile = given_profile(bundle, 20_000, 1000, 1e8)
    records, lines, _ = run_adaptively(
        bundle, profile, server.url, tmp_path / "log", deferred=True, gate=lambda lines, _: (40, lambda: lines)
    )
    assert {record["tail"] for record in records} == {"local"}
    assert len(lines) == 1
    assert lines[0].endswith("serve the same bundle. Running locally.")


def test_without_a_reachable_tail_an_adaptive_run_is_local_and_a_fixed_split_fails(tmp_path, capsys):
    from hybrid_batch.cli import main

    unused = f"http://127.0.0.1:{free_port()}"
    command = ["run", str(IMAGES), "--tail", unused, "--log", str(tmp_path), "--json"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["cuts"] == {"local none": 360}
    assert err.count("No answer from") == 1
    assert "Running locally until the tail responds." in err
    assert main([*command, "--split", "c004", "--patience", "0"]) == 1


def test_no_more_batches_are_admitted_than_requests_in_flight(bundle):
    """Waiting batches would hold up the batches that run locally."""
    far = given_profile(bundle, 20_000, 10, 1e9)
    far = replace(far, tail=replace(far.tail, link=Link(1e9, 2_000_000)))
    with open_http_tail("http://127.0.0.1:1", bundle) as tail:
        router = AdaptiveRouter(bundle, far, PlanRequest(earliest_cut="c003", in_flight=2), tail, lambda _: None)
        splits = []
        batches = [Batch(0, ["a.png"] * 8, [None] * 8, [100] * 8, ends_shard=False) for _ in range(10)]
        router._images_left = 10_000
        for batch in batches:
            batch.split = router.route().split
            splits.append(router.admit(batch))
    assert len([split for split in splits if not isinstance(split, LocalSplit)]) == 2


def test_the_reason_is_that_of_the_candidate_in_use(bundle, monkeypatch):
    slow = given_profile(bundle, 40_000, 10, 2e5)
    monkeypatch.setattr("hybrid_batch.inference.planner.adapt.policy._CONFIRMATIONS", 1)
    with open_http_tail("http://127.0.0.1:1", bundle) as tail:
        monkeypatch.setattr(tail, "check", lambda _: None)
        router = AdaptiveRouter(bundle, slow, PlanRequest(earliest_cut="c003"), tail, lambda _: None)
        first = router.plan.sentence
        router._replanner.update(ConditionsNow(Link(1e9, 100), 1.0, 1.0))
        assert router.plan.sentence != first
        assert router.reason == first
        router._switch(lambda _: None)
    assert router.switches == 1
    assert router.reason == router.plan.sentence


def test_after_an_interrupt_nothing_more_is_computed_locally(bundle, tmp_path, monkeypatch):
    """Otherwise a batch without a response would be computed while the interpreter exits."""
    computed: list[float] = []
    infer = LocalTail.infer

    def noted(self, cut_id, frame):
        computed.append(time.monotonic())
        return infer(self, cut_id, frame)

    monkeypatch.setattr(LocalTail, "infer", noted)
    metadata = json.dumps({"parameters": {"sha256": bundle.sha256}}).encode()
    silent = threading.Event()
    server = ScriptedServer(reply(200, metadata), reply(200, b"{}"), lambda _: silent.wait(HANG_S) and b"")
    settings = TailSettings(4, RetryPolicy(connect_timeout_s=HANG_S, response_timeout_s=HANG_S, attempts=1))
    found = find_images(str(IMAGES))
    folder = RunFolder(open_storage(str(tmp_path / "run=x")))

    def interrupt() -> None:
        while len(server.paths) < 3:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with open_http_tail(server.url, bundle, settings) as tail:
        router = AdaptiveRouter(
            bundle, given_profile(bundle, 20_000, 1000, 1e8), PlanRequest(earliest_cut="c003"), tail, lambda _: None
        )
        runtime = open_runtime("openvino", bundle)
        images = ImageSet(found.root, label_images(found.table, "folders", bundle.labels).table)
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            run_shards(
                RunSpec(bundle, router, runtime, tail, server.url, images, folder, 40),
                lambda _: None,
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
