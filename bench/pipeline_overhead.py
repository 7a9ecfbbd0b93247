"""The overhead of a run over its stages: `python -m bench pipeline_overhead [--quick]`.

Stages overlap, so the rate of a run should be close to that of its slowest stage, and the latency of a single image
close to the sum of its stages. The sum is computed with the configured link, with the link as measured by plain bytes,
and with the time of an empty HTTP request. Measured in turns for a slow head, a slow link and a slow tail.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.link import Conditions, check_link, open_link
from bench.raw_tcp import transfer_s
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
_SINGLE_IMAGES = 20 if QUICK else 40  # one at a time


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
        for testbed in each:
            rows += [_measure(testbed, case) for case in _CASES]
    report("pipeline_overhead", rows)


def _measure(testbed: Testbed, case: _Case) -> dict[str, Any]:
    check_link(case.conditions)
    cut = testbed.bundle.cut(case.cut)
    route = Route(split_at(cut, case.codec), _BATCH)
    rate_ratios, latency_ratios = list[float](), list[float]()
    measured_link_ratios, http_ratios = list[float](), list[float]()
    stage_rates = list[dict[str, float]]()
    with (
        open_link("127.0.0.1", testbed.server.port, (0, case.conditions)) as link,
        testbed.tail(link.port) as tail,
        testbed.tail(testbed.server.port) as near,
    ):
        near.check(cut.id)
        for _ in range(_ROUNDS):
            many, one = _Stages(testbed, route), _Stages(testbed, Route(route.split, 1))
            rates = {"head": many.head_rate(), "link": many.link_rate(case.conditions), "tail": many.tail_rate(near)}
            stage_rates.append(rates)
            rate_ratios.append(testbed.run_fixed(route, tail, SECONDS).rate() / min(rates.values()))
            latency_s, (compute_s, sent, received) = _latency_s(testbed, route.split, tail), one.compute_s(near)
            link_s = (sent + received) / (case.conditions.rate_mbit * 125_000) + case.conditions.rtt_ms / 1000
            measured_link_s = transfer_s(case.conditions, sent, received)
            http_s = measure_link(testbed.bundle, tail).round_trip_us / 1e6 - case.conditions.rtt_ms / 1000
            latency_ratios.append(latency_s / (compute_s + link_s))
            measured_link_ratios.append(latency_s / (compute_s + measured_link_s))
            http_ratios.append(latency_s / (compute_s + link_s + http_s))
    slowest = {name: statistics.median(rates[name] for rates in stage_rates) for name in stage_rates[0]}
    return {
        "slow": case.slow,
        "cut": f"{cut.id} {case.codec}",
        "Mbit/s": case.conditions.rate_mbit,
        "rtt ms": case.conditions.rtt_ms,
        **{f"{name}, images/s": rate for name, rate in slowest.items()},
        "run / slowest stage": Spread.of(rate_ratios),
        "one image / sum of stages": Spread.of(latency_ratios),
        "link as measured": Spread.of(measured_link_ratios),
        "with HTTP": Spread.of(http_ratios),
    }


class _Stages:
    """Each stage alone, with the same images in batches of one size."""

    def __init__(self, testbed: Testbed, route: Route) -> None:
        self._bundle, self._cut, self._codec = testbed.bundle, testbed.bundle.cut(route.split.name), route.split.codec
        names = testbed.images.table["image"].slice(0, route.batch_size).to_pylist()
        self._read: Callable[[], list[bytes]] = lambda: [testbed.images.root.read(name) for name in names]
        self._images = len(names)
        self._uploads_images = self._codec in codecs.IMAGE_CODECS
        self._head = None if self._uploads_images else compile_head(testbed.runtime, testbed.bundle, self._cut)
        self._frame = self._encode()

    def head_rate(self) -> float:
        """Return the images/s of reading, decoding, head and codec."""
        return self._images / statistics.median(_times(self._encode, SECONDS))

    def link_rate(self, conditions: Conditions) -> float:
        """Return the images/s of the link."""
        return conditions.rate_mbit * 125_000 / (self._sent() / self._images)

    def tail_rate(self, near: Tail) -> float:
        """Return the images/s of the tail without a link, with as many concurrent requests as a run."""
        end = time.perf_counter() + SECONDS

        def send(_: int) -> int:
            sent = 0
            while time.perf_counter() < end:
                near.infer(self._cut.id, self._frame)
                sent += 1
            return sent

        began = time.perf_counter()
        with ThreadPoolExecutor(_IN_FLIGHT) as threads:
            requests = sum(threads.map(send, range(_IN_FLIGHT)))
        return requests * self._images / (time.perf_counter() - began)

    def compute_s(self, near: Tail) -> tuple[float, int, int]:
        """Return the seconds of all stages but the link for one batch, and the bytes sent and received."""
        local_s = statistics.median(_times(self._encode, SECONDS / 2))
        responses = [near.infer(self._cut.id, self._frame) for _ in range(_SINGLE_IMAGES)]
        remote_s = statistics.median(response.timings.server_us for response in responses) / 1e6
        return local_s + remote_s, self._sent(), responses[0].received_bytes

    def _sent(self) -> int:
        return sum(len(tensor.data) for tensor in self._frame.tensors)

    def _encode(self) -> Frame:
        files = self._read()
        if self._head is None:
            return Frame(wire_tensors.encode_images(self._bundle.input, files))
        pixels = np.stack([decode(file, self._bundle.preprocessing) for file in files])
        return Frame(wire_tensors.encode(self._codec, self._cut.boundary, self._head([pixels])))


def _latency_s(testbed: Testbed, split: Split, tail: Tail) -> float:
    """Return the median latency in seconds of an image that arrives when the previous one is complete."""
    latencies_s: list[float] = []
    single = _SingleImages(testbed.images.root)

    def watch(batch: Batch) -> None:
        latencies_s.append(batch.done_ns / 1e9 - single.began)
        single.next.release()

    testbed.run(FixedRouter(split, 1), tail, watch, root=single, images=_SINGLE_IMAGES)
    return statistics.median(latencies_s)


class _SingleImages:
    """A folder that delivers the next image when the previous one is complete; `began` is that time."""

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
