"""What this machine does in a second: heads of growing length timed whole, codecs timed on what heads make.

Never a sum of single layers: compiled together they are 1.5 to 5 times faster than one by one. And never in a row by
themselves: a run decodes pictures in between, and what was in the processor's cache is gone then.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.images.decode import decode, scale_pixels
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.datatypes import NUMPY
from hybrid_batch.inference.model.runtimes import Engine, Segment, compile_head, compile_tail
from hybrid_batch.inference.planner.profile.piecewise_linear import Curve
from hybrid_batch.inference.planner.profile.profile import CodecCost
from hybrid_batch.inference.planner.profile.sample import take_sample
from hybrid_batch.inference.planner.profile.target import Subject
from hybrid_batch.inference.protocol import codecs

WHOLE_BATCH = 1
_FEWEST, _MOST, _ERROR = 5, 17, 0.03
_LEAST_S, _LEAST_CALLS, _MOST_CALLS = 0.15, 3, 20


@dataclass(frozen=True, slots=True)
class Here:
    """Head times by batch, and what codecs cost here; µs to decode in the tail are not known yet and 0."""

    times: dict[int, Curve]
    codecs: dict[str, CodecCost]


def measure_here(subject: Subject, pixels: np.ndarray | None, names: Sequence[str], budget_s: float) -> Here:
    """Time heads at these batch sizes: first evenly over the work, then where the line between neighbours is
    furthest off, until that is below 3 % of the whole model or the budget is spent."""
    bundle, engine, batches = subject.bundle, subject.engine, subject.batches
    end = time.monotonic() + budget_s
    feed, between = _feed(bundle, max(batches), pixels), _decoding(bundle)
    total = bundle.whole.tail_macs
    whole = compile_tail(engine, bundle, bundle.whole)
    found: dict[int, dict[float, float]] = {
        batch: {0.0: 0.0, float(total): _time_batch(whole, feed[:batch], between)} for batch in batches
    }
    encoded: list[tuple[Cut, dict[str, _Encoded]]] = []
    cuts = inner_cuts(bundle)
    for cut in dict.fromkeys([*evenly(cuts, _FEWEST + 1), *cuts[-1:]]):
        if cut.head_macs not in found[batches[0]] and (time.monotonic() < end or not encoded):
            encoded.append((cut, _time_head(subject, cut, feed, found, names=names, between=between)))
    while len(encoded) < _MOST and time.monotonic() < end:
        cut_or_none = _worst(cuts, [Curve.of(points.items()) for points in found.values()])
        if cut_or_none is None:
            break
        encoded.append((cut_or_none, _time_head(subject, cut_or_none, feed, found, names=names, between=between)))
    if not encoded:
        encoded.append((bundle.whole, _time_codecs(bundle.whole, [feed], names)))
    return Here({batch: Curve.of(points.items()) for batch, points in found.items()}, _costs(encoded, names))


def whole_us(bundle: Bundle, engine: Engine) -> float:
    """µs of the whole model on one image now, to compare with what a profile says."""
    whole, feed = compile_tail(engine, bundle, bundle.whole), _feed(bundle, WHOLE_BATCH, None)
    return _time_batch(whole, feed, _decoding(bundle))


def inner_cuts(bundle: Bundle) -> list[Cut]:
    """The cuts that leave work on both sides, by the head's work."""
    return sorted((cut for cut in bundle.cuts if cut.head_macs), key=lambda cut: cut.head_macs)


def evenly(cuts: Sequence[Cut], parts: int) -> list[Cut]:
    """The cuts nearest to where the work falls into so many even parts, each once."""
    wanted = [(cut.head_macs + cut.tail_macs) * part / parts for cut in cuts[:1] for part in range(1, parts)]
    near = [min(cuts, key=lambda cut, at=at: abs(cut.head_macs - at)) for at in wanted]  # type: ignore[misc]
    return list(dict.fromkeys(near))


def _worst(cuts: Sequence[Cut], curves: Sequence[Curve]) -> Cut | None:
    """A cut in the middle of the widest interval beside the worst told point; None when all are told well."""
    error, at = max((gap[::-1] for curve in curves for gap in curve.gaps()), default=(0.0, 0.0))
    if error < _ERROR:
        return None
    known = [work for work, _ in curves[0].points]
    place = known.index(at)
    sides = [(known[place - 1], at), (at, known[place + 1])]
    for low, high in sorted(sides, key=lambda side: side[0] - side[1]):
        between = [cut for cut in cuts if low < cut.head_macs < high]
        if between:
            return min(between, key=lambda cut: abs(cut.head_macs - (low + high) / 2))
    return None


def _time_head(
    subject: Subject,
    cut: Cut,
    feed: np.ndarray,
    found: dict[int, dict[float, float]],
    *,
    names: Sequence[str],
    between: Callable[[], object],
) -> "dict[str, _Encoded]":
    """One visit to a cut: the times of all batches into `found`, and those of the codecs."""
    head = compile_head(subject.engine, subject.bundle, cut)
    for batch, points in found.items():
        points[float(cut.head_macs)] = _time_batch(head, feed[:batch], between)
    return _time_codecs(cut, head([feed[:8]]), names)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Of a codec at a cut: frames as (elements, µs to encode), and bytes an element."""

    frames: tuple[tuple[int, float], ...]
    size: float


def _time_codecs(cut: Cut, tensors: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, _Encoded]:
    """Frames of one image and of all."""
    costs = {}
    for name in names:
        frames = []
        for batch in (1, len(tensors[0])):
            part = [tensor[:batch] for tensor in tensors]
            encoded = codecs.encode(name, cut.boundary, part)
            spent = _time(lambda name=name, part=part: codecs.encode(name, cut.boundary, part), 0.02)  # type: ignore[misc]
            frames.append((cut.elements * batch, spent))
        costs[name] = _Encoded(tuple(frames), sum(len(tensor.data) for tensor in encoded) / frames[-1][0])
    return costs


def line(frames: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """µs an element, and µs a frame whatever is in it, of frames (elements, µs): the smallest is believed, the others
    tell what more elements take."""
    (few, least), *others = sorted(frames)
    slopes = [(spent - least) / (elements - few) for elements, spent in others if elements > few]
    each = max(0.0, statistics.median(slopes)) if slopes else least / few
    return each, max(0.0, least - each * few)


def _costs(encoded: "list[tuple[Cut, dict[str, _Encoded]]]", names: Sequence[str]) -> dict[str, CodecCost]:
    encoded = sorted(encoded, key=lambda pair: pair[0].head_macs)
    costs = {}
    for name in names:
        each, frame = line([one for _, found in encoded for one in found[name].frames])
        sizes = Curve(tuple((float(cut.head_macs), found[name].size) for cut, found in encoded))
        costs[name] = CodecCost(each, 0.0, sizes, frame)
    return costs


def _feed(bundle: Bundle, batch: int, pixels: np.ndarray | None) -> np.ndarray:
    """Pictures repeated to a batch; without any, noise, which takes engines as long."""
    if pixels is None or not len(pixels):
        noise = np.random.default_rng(0).uniform(0, 255, (batch, *bundle.input.shape)).astype(np.float32)
        pixels = scale_pixels(noise, bundle.preparation)
    repeated: np.ndarray = np.resize(pixels, (batch, *pixels.shape[1:])).astype(
        NUMPY[bundle.input.datatype], copy=False
    )
    return repeated


def _decoding(bundle: Bundle) -> Callable[[], object]:
    """Decodes a picture, as a run does between two batches."""
    file = take_sample(bundle.preparation).files[0]
    return lambda: decode(file, bundle.preparation)


def _time_batch(segment: Segment, feed: np.ndarray, between: Callable[[], object]) -> float:
    """µs an image."""
    return _time(lambda: segment([feed]), _LEAST_S, between) / len(feed)


def _time(call: Callable[[], object], least_s: float, between: Callable[[], object] = int) -> float:
    """µs of the quickest call after one that is not counted: others' work only ever adds."""
    call()
    spent: list[float] = []
    while len(spent) < _LEAST_CALLS or (sum(spent) < least_s * 1e6 and len(spent) < _MOST_CALLS):
        between()
        began = time.perf_counter_ns()
        call()
        spent.append((time.perf_counter_ns() - began) / 1000)
    return min(spent)
