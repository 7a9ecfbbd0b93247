"""What a run adds to its stages: `python -m bench bounds [--quick]`.

Stages overlap, so a run should be nearly as fast as the slowest of them alone; and an image that comes by itself should
wait hardly longer than they take one after the other: with the link as it was set, as plain bytes find it, and with
what an empty request over HTTP takes besides. Measured in turns for a slow head, a slow link and a slow tail.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.raw_tcp import carriage_s
from bench.link import Conditions, check_link, open_link
from bench.results import Spread, report
from bench.testbed import QUICK, SECONDS, Testbed, testbeds
from hybrid_batch.data.images.decode import decode
from hybrid_batch.data.storage.storage import Storage
from hybrid_batch.inference.model.runtimes import compile_head
from hybrid_batch.inference.planner.profile.remote_profiler import measure_link
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.routing import FixedRouter, Route
from hybrid_batch.inference.runner.split import Split, split_at
from hybrid_batch.inference.tails import Tail

_ROUNDS = 2 if QUICK else 5
_BATCH, _IN_FLIGHT = 8, 4
_ALONE = 20 if QUICK else 40  # images one at a time


@dataclass(frozen=True, slots=True)
class _Case:
    slow: str
    cut: str
    codec: str
    conditions: Conditions


_CASES = (
    _Case("head", "block_13_project", "int8", Conditions(100, 5)),
    _Case("link", "block_6_project", "fp16", Conditions(18.88, 50)),
    _Case("tail", "c000", codecs.IMAGE, Conditions(100, 5)),
)


def main() -> None:
    """Measure and report."""
    rows = []
    with testbeds("MobileNetV2") as each:
        for stand in each:
            rows += [_measure(stand, case) for case in _CASES]
    report("bounds", rows)


def _measure(stand: Testbed, case: _Case) -> dict[str, Any]:
    check_link(case.conditions)
    cut = stand.bundle.cut(case.cut)
    route = Route(split_at(cut, case.codec), _BATCH)
    ways, waits, found, asked = list[float](), list[float](), list[float](), list[float]()
    bounds = list[dict[str, float]]()
    with (
        open_link("127.0.0.1", stand.server.port, (0, case.conditions)) as link,
        stand.tail(link.port) as tail,
        stand.tail(stand.server.port) as near,
    ):
        near.check(cut.id)
        for _ in range(_ROUNDS):
            many, one = _Stages(stand, route), _Stages(stand, Route(route.split, 1))
            rates = {"head": many.head_rate(), "link": many.link_rate(case.conditions), "tail": many.tail_rate(near)}
            bounds.append(rates)
            ways.append(stand.fixed(route, tail, SECONDS).rate() / min(rates.values()))
            wait_s, (ends_s, sent, received) = _wait_s(stand, route.split, tail), one.ends(near)
            link_s = (sent + received) / (case.conditions.rate_mbit * 125_000) + case.conditions.rtt_ms / 1000
            carried_s = carriage_s(case.conditions, sent, received)
            asking_s = measure_link(stand.bundle, tail).round_trip_us / 1e6 - case.conditions.rtt_ms / 1000
            waits.append(wait_s / (ends_s + link_s))
            found.append(wait_s / (ends_s + carried_s))
            asked.append(wait_s / (ends_s + link_s + asking_s))
    slowest = {name: statistics.median(rates[name] for rates in bounds) for name in bounds[0]}
    return {
        "slow": case.slow,
        "cut": f"{cut.id} {case.codec}",
        "Mbit/s": case.conditions.rate_mbit,
        "rtt ms": case.conditions.rtt_ms,
        **{f"{name}, images/s": rate for name, rate in slowest.items()},
        "run / slowest stage": Spread.of(ways),
        "one image / sum of stages": Spread.of(waits),
        "link as found": Spread.of(found),
        "with HTTP": Spread.of(asked),
    }


class _Stages:
    """Each stage alone, with the same pictures in batches of one size."""

    def __init__(self, stand: Testbed, route: Route) -> None:
        self._bundle, self._cut, self._codec = stand.bundle, stand.bundle.cut(route.split.name), route.split.codec
        names = stand.images.table["image"].slice(0, route.batch_size).to_pylist()
        self._read: Callable[[], list[bytes]] = lambda: [stand.images.root.read(name) for name in names]
        self._images = len(names)
        self._pictures = self._codec in codecs.IMAGE_CODECS
        self._head = None if self._pictures else compile_head(stand.engine, stand.bundle, self._cut)
        self._frame = self._make()

    def head_rate(self) -> float:
        """Images/s of reading, decoding, head and codec."""
        return self._images / statistics.median(_times(self._make, SECONDS))

    def link_rate(self, conditions: Conditions) -> float:
        """Images/s that the link carries."""
        return conditions.rate_mbit * 125_000 / (self._sent() / self._images)

    def tail_rate(self, near: Tail) -> float:
        """Images/s of the tail without a link, asked by as many as a run asks with."""
        end = time.perf_counter() + SECONDS

        def ask(_: int) -> int:
            asked = 0
            while time.perf_counter() < end:
                near.infer(self._cut.id, self._frame)
                asked += 1
            return asked

        began = time.perf_counter()
        with ThreadPoolExecutor(_IN_FLIGHT) as askers:
            asked = sum(askers.map(ask, range(_IN_FLIGHT)))
        return asked * self._images / (time.perf_counter() - began)

    def ends(self, near: Tail) -> tuple[float, int, int]:
        """Seconds that the stages of one batch take one after the other, all but the link; bytes there and back."""
        here = statistics.median(_times(self._make, SECONDS / 2))
        answers = [near.infer(self._cut.id, self._frame) for _ in range(_ALONE)]
        there = statistics.median(answer.timings.server_us for answer in answers) / 1e6
        return here + there, self._sent(), answers[0].received_bytes

    def _sent(self) -> int:
        return sum(len(tensor.data) for tensor in self._frame.tensors)

    def _make(self) -> Frame:
        files = self._read()
        if self._head is None:
            return Frame(wire_tensors.encode_images(self._bundle.input, files))
        pixels = np.stack([decode(file, self._bundle.preprocessing) for file in files])
        return Frame(wire_tensors.encode(self._codec, self._cut.boundary, self._head([pixels])))


def _wait_s(stand: Testbed, split: Split, tail: Tail) -> float:
    """The median wait of an image that comes when the one before is done."""
    waits: list[float] = []
    alone = _OneAtATime(stand.images.root)

    def watch(batch: Batch) -> None:
        waits.append(batch.done_ns / 1e9 - alone.began)
        alone.next.release()

    stand.run(FixedRouter(split, 1), tail, watch, root=alone, images=_ALONE)
    return statistics.median(waits)


class _OneAtATime:
    """The pictures' folder, where the next one is there once the last is done; `began` is when that was."""

    def __init__(self, root: Storage) -> None:
        self._root, self.next, self.began = root, threading.Semaphore(1), 0.0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._root, name)

    def read(self, name: str, limit: int | None = None) -> bytes:
        self.next.acquire()
        self.began = time.perf_counter()
        return self._root.read(name, limit)


def _times(call: Callable[[], object], seconds: float) -> list[float]:
    return list(_timed(call, seconds))


def _timed(call: Callable[[], object], seconds: float) -> Iterator[float]:
    call()
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        call()
        yield time.perf_counter() - began


if __name__ == "__main__":
    main()
