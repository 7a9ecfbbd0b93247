"""What the tail and the link do in a second, found with real frames through the tail's own server.

The tail's speed is found with frames of zeros that hardly take bytes, so a slow link does not slow the measuring.
The link's rate is found with frames that do not compress, of two sizes, so that what is equal in both drops out.
"""

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.errors import TailUnreachable
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.datatypes import FLOATS, NUMPY
from hybrid_batch.inference.planner.profile.local_profiler import evenly, inner_cuts, line
from hybrid_batch.inference.planner.profile.piecewise_linear import Curve
from hybrid_batch.inference.planner.profile.profile import Link, TailSpeed
from hybrid_batch.inference.planner.profile.target import Subject
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.infer_response import Answer
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.tails import Tail

_CUTS, _CALLS, _REQUESTS = 5, 3, 12
_EMPTY = 4  # frames with hardly anything in them
_LONG_US = 150_000  # a frame this long on the way says enough of the rate
_LARGEST_BYTES = 1 << 20
_MIDDLING = 25_000  # elements: few enough for a slow link, enough to time
_FILLING = 64  # images to fill a frame with
_SENT = 4  # so much more there than back says which direction was told
_UNTOLD_US, _UNTOLD = 20_000, 2.0  # a tail's account may miss so much of a round trip before it is called a lie
_SLOWER, _SURE = 1.25, 3  # so much slower, so many times: strangers' work comes and goes


@dataclass(frozen=True, slots=True)
class There:
    """The tail's speed, and µs an element and a frame that it takes to decode each codec."""

    speed: TailSpeed
    decode_us: dict[str, tuple[float, float]]


def measure_there(
    subject: Subject,
    tail: Tail,
    pictures: Sequence[bytes],
    names: Sequence[str],
    busy: Callable[[], float],
    *,
    budget_s: float,
) -> There:
    """Measure a tail. `busy` gives µs of some work here; it is asked with the tail idle and at work, to learn
    whether both use the same cores. Raises TailUnreachable, OtherBundle, TailRefused."""
    bundle, address, batches = subject.bundle, subject.address, subject.batches
    end = time.monotonic() + budget_s
    tail.check(bundle.whole.id)
    link = measure_link(bundle, tail)
    told: dict[int, dict[float, float]] = {batch: {0.0: 0.0} for batch in batches}
    trips: dict[int, dict[float, float]] = {batch: {0.0: 0.0} for batch in batches}
    whole: dict[int, float] = {}
    for cut in (bundle.whole, *evenly(inner_cuts(bundle), _CUTS)):
        if cut is not bundle.whole and time.monotonic() > end:
            break
        tail.check(cut.id)
        for batch in batches:
            answers = _ask(tail, cut, Frame(codecs.encode("int8", cut.boundary, _zeros(cut, batch))), end)
            told[batch][float(cut.tail_macs)] = min(answer.times.tail_us for answer in answers) / batch
            outside = link.round_trip_us + (answers[0].sent_bytes + answers[0].received_bytes) * 8e6 / link.rate_bps
            spent = min(answer.round_trip_us - answer.times.decode_us for answer in answers)
            trips[batch][float(cut.tail_macs)] = max(0.0, spent - outside) / batch
            if cut is bundle.whole:
                whole[batch] = spent
    notes = []
    if lie := find_lie(told, trips, whole, float(bundle.whole.tail_macs)):
        notes.append(f"{address} {lie}; the round trips are believed instead.")
        told = trips
    shares = all(_slows(bundle, tail, busy) for _ in range(_SURE))
    picture_us = _picture_us(bundle, tail, pictures)
    times = {batch: Curve.of(points.items()) for batch, points in told.items()}
    decode_us = _decode_us(bundle, tail, names)
    ask_us, answer_us = _request_us(bundle, tail)
    return There(
        TailSpeed(address, times, picture_us, link, shares, tuple(notes), ask_us, answer_us, tail.room), decode_us
    )


def whole_there_us(bundle: Bundle, tail: Tail) -> float:
    """µs of the whole model on one image in the tail now, to compare with what a profile says."""
    frame = Frame(codecs.encode("int8", bundle.whole.boundary, _zeros(bundle.whole, 1)))
    return float(min(answer.times.tail_us for answer in _ask(tail, bundle.whole, frame, math.inf)))


def measure_link(bundle: Bundle, tail: Tail) -> Link:
    """Rate and round trip of the link, by frames that grow until one is long on its way. Raises TailUnreachable
    when nothing comes through."""
    small = sorted(_send_noise(bundle, tail, 0) for _ in range(_EMPTY))
    size = 4096
    while (large := min(_send_noise(bundle, tail, size) for _ in range(2)))[0] - small[0][0] < _LONG_US:
        if size >= _LARGEST_BYTES or 5 * size > (tail.room or 5 * size):
            break
        size *= 4
    return link_of(small, large)


def link_of(small: Sequence[tuple[float, int]], large: tuple[float, int]) -> Link:
    """What µs and bytes of four frames, the quickest first, and of a large one tell of the link. The large one takes
    longer by no less than equal ones differ by, the slowest left out, which may have opened a connection: where its
    bytes take less than that, as through a queue, they tell how fast the link is at least."""
    longer, differ = large[0] - small[0][0], small[-2][0] - small[0][0]
    rate = (large[1] - small[0][1]) * 8e6 / max(1.0, longer, differ)
    return Link(rate, max(0.0, small[0][0] - small[0][1] * 8e6 / rate), longer <= differ)


def _send_noise(bundle: Bundle, tail: Tail, size: int) -> tuple[float, int]:
    """µs on the link of a frame of at least so many bytes and its reply, and the bytes of both; at the latest cut that
    fills it. Of those whose reply is small, if there are any: a link may be faster in one direction."""
    cuts = inner_cuts(bundle) or [bundle.whole]
    reply = 4 * bundle.output.elements
    cuts = [cut for cut in cuts if 2 * cut.elements >= _SENT * reply] or cuts
    cut = next((cut for cut in reversed(cuts) if 2 * cut.elements * _FILLING >= size), cuts[0])
    batch = min(codecs.MAX_BATCH, max(1, -(-size // max(1, 2 * cut.elements))))
    answer = tail.infer(cut.id, Frame(codecs.encode(codecs.HALF, cut.boundary, _noise(cut, batch))))
    return float(answer.link_us), answer.sent_bytes + answer.received_bytes


def _ask(tail: Tail, cut: Cut, frame: Frame, end: float) -> list[Answer]:
    answers = [tail.infer(cut.id, frame)]  # who asks first waits for memory to be laid out
    while len(answers) < 2 or (len(answers) <= _CALLS and time.monotonic() < end):
        answers.append(tail.infer(cut.id, frame))
    return answers[1:]


def find_lie(
    told: dict[int, dict[float, float]], trips: dict[int, dict[float, float]], whole: dict[int, float], work: float
) -> str | None:
    """Whether the times a tail tells of the whole model are not those that round trips show. What a link takes of a
    trip is an estimate; only a tail that tells of more than the whole trip tells of too much."""
    for batch in told:
        said, seen, most = told[batch][work] * batch, trips[batch][work] * batch, whole[batch]
        says = f"says that {batch} images take it {said / 1000:.1f} ms, but"
        if seen - said > _UNTOLD_US and seen > _UNTOLD * said:
            return f"{says} they take {seen / 1000:.1f} ms"
        if said - most > _UNTOLD_US:
            return f"{says} answers after {most / 1000:.1f} ms"
    return None


def _slows(bundle: Bundle, tail: Tail, busy: Callable[[], float]) -> bool:
    """Whether work here slows while the tail works, or someone else does."""
    alone = busy()
    frame = Frame(codecs.encode("int8", bundle.whole.boundary, _zeros(bundle.whole, 8)))
    done, failed = threading.Event(), threading.Event()

    def keep_busy() -> None:
        try:
            while not done.is_set():
                tail.infer(bundle.whole.id, frame)
        except Exception:
            failed.set()

    askers = [threading.Thread(target=keep_busy) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        together = busy()
    finally:
        done.set()
        for asker in askers:
            asker.join()
    if failed.is_set():
        raise TailUnreachable(
            "The tail went away while it was measured; check that `hybrid-batch serve` still runs there."
        )
    return together > _SLOWER * alone


def _picture_us(bundle: Bundle, tail: Tail, pictures: Sequence[bytes]) -> float:
    few = list(pictures[:4])
    while few and tail.room is not None and 2 * sum(map(len, few)) > tail.room:
        few.pop()
    if not few:
        return 0.0
    frame = Frame(codecs.encode_pictures(bundle.input, few))
    return min(tail.infer(bundle.whole.id, frame).times.decode_us for _ in range(_CALLS + 1)) / len(few)


def _request_us(bundle: Bundle, tail: Tail) -> tuple[float, float]:
    """µs that a request with hardly anything in it takes this machine's processor, all threads, and the tail."""
    cut = (inner_cuts(bundle) or [bundle.whole])[-1]
    tail.check(cut.id)
    frame = Frame(codecs.encode("int8", cut.boundary, _zeros(cut, 1)))
    asked, answered = [], []
    for _ in range(_REQUESTS):
        began = time.process_time_ns()
        times = tail.infer(cut.id, frame).times
        asked.append((time.process_time_ns() - began) / 1000)
        answered.append(times.server_us - times.tail_us)
    return statistics.median(asked), statistics.median(answered)


def _decode_us(bundle: Bundle, tail: Tail, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """µs an element and a frame the tail takes to decode, by frames of one image of zeros."""
    cuts = inner_cuts(bundle) or [bundle.whole]
    some = (
        min(cuts, key=lambda cut: cut.elements),
        min(cuts, key=lambda cut: abs(cut.elements - _MIDDLING)),
    )
    frames: dict[str, list[tuple[int, float]]] = {name: [] for name in names}
    for cut in dict.fromkeys(some):
        tail.check(cut.id)
        for name in names:
            asked = Frame(codecs.encode(name, cut.boundary, _zeros(cut, 1)))
            spent = min(tail.infer(cut.id, asked).times.decode_us for _ in range(_CALLS))
            frames[name].append((cut.elements, float(spent)))
    return {name: line(found) for name, found in frames.items()}


def _zeros(cut: Cut, batch: int) -> list[np.ndarray]:
    return [np.zeros((batch, *tensor.shape), NUMPY[tensor.datatype]) for tensor in cut.boundary]


def _noise(cut: Cut, batch: int) -> list[np.ndarray]:
    chance = np.random.default_rng(batch)
    return [
        chance.standard_normal((batch, *tensor.shape)).astype(NUMPY[tensor.datatype])
        if tensor.datatype in FLOATS
        else np.zeros((batch, *tensor.shape), NUMPY[tensor.datatype])
        for tensor in cut.boundary
    ]
