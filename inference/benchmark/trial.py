"""The trial of one tail with one way to divide the work: its first answer, and then many, one picture at a time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hybrid_batch.inference.benchmark.head import Head
from hybrid_batch.inference.benchmark.site import Kit, open_site
from hybrid_batch.inference.benchmark.way import Way
from hybrid_batch.inference.tails import Tail


@dataclass(frozen=True, slots=True)
class Answered:
    """One picture: µs until its frame was made here, of the round trip, and of it in the tail's own work (decoding and
    computing), with the bytes that went and came. `agrees` is whether the class is that of the whole model here."""

    here_us: float
    round_trip_us: float
    compute_us: float
    tail_us: float
    sent_bytes: int
    received_bytes: int
    agrees: bool

    @property
    def latency_us(self) -> float:
        """What the picture took in all."""
        return self.here_us + self.round_trip_us

    @property
    def overhead_us(self) -> float:
        """The round trip less the tail's own work."""
        return max(0.0, self.round_trip_us - self.compute_us)


@dataclass(slots=True)
class Trial:
    """What the turns of one tail and way have shown so far; `colds_us` are by what the first answer includes."""

    address: str
    way: Way
    colds_us: list[tuple[str, float]] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)

    def take_turn(self, kit: Kit, head: Head, pictures: Mapping[bytes, int], requests: int) -> None:
        """One cold answer, and so many more. `pictures` are files and the classes that the whole model gives them."""
        files = list(pictures)
        first = head.prepare(files[0])
        with open_site(self.address, kit) as site:
            site.tail.infer(self.way.cut.id, first.frame)
            self.colds_us.append((site.first, (time.perf_counter_ns() - site.began_ns) / 1000))
            for number in range(requests):
                file = files[number % len(files)]
                self.answers.append(ask(site.tail, head, self.way, file, pictures[file]))


def ask(tail: Tail, head: Head, way: Way, file: bytes, expected: int) -> Answered:
    """Have one picture classified."""
    prepared = head.prepare(file)
    answer = tail.infer(way.cut.id, prepared.frame)
    times = answer.times
    return Answered(
        prepared.here_us,
        answer.round_trip_us,
        times.decode_us + times.tail_us,
        times.server_us,
        answer.sent_bytes,
        answer.received_bytes,
        int(np.argmax(answer.scores[0])) == expected,
    )


def classify_here(tail: Tail, head: Head, way: Way, files: Sequence[bytes]) -> dict[bytes, int]:
    """The classes of pictures."""
    return {file: int(np.argmax(tail.infer(way.cut.id, head.prepare(file).frame).scores[0])) for file in files}
