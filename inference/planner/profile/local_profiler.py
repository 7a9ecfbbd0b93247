"""Measure this machine: heads of growing length, each compiled whole, and codecs on the tensors that heads produce.

Times of single layers are not summed: layers compiled together are 1.5 to 5 times faster than one by one. An image is
decoded before each timed call, as in a run, because decoding evicts the head's data from the processor's cache.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.images.decode import decode
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES
from hybrid_batch.inference.model.runtimes import Runtime, Segment, compile_head, compile_tail
from hybrid_batch.inference.planner.profile.piecewise_linear import PiecewiseLinear
from hybrid_batch.inference.planner.profile.profile import CodecCost
from hybrid_batch.inference.planner.profile.sample import ImageSample
from hybrid_batch.inference.planner.profile.target import ProfileTarget
from hybrid_batch.inference.protocol.codecs import wire_tensors

WHOLE_MODEL_BATCH = 1  # for the time of the whole model that a cached profile is compared with
_FIRST_HEADS, _MAX_HEADS, _MAX_ERROR = 5, 17, 0.03
_MIN_S, _MIN_CALLS, _MAX_CALLS = 0.15, 3, 20
_CODEC_MIN_S, _CODEC_BATCH = 0.02, 8


@dataclass(frozen=True, slots=True)
class LocalCosts:
    """`head_times` maps a batch size to µs per image over the head's multiply-accumulates. `codecs` has the costs of
    this machine only: the tail's decoding times are 0."""

    head_times: dict[int, PiecewiseLinear]
    codecs: dict[str, CodecCost]


def measure_local(
    target: ProfileTarget, sample: ImageSample, codec_names: Sequence[str], budget_s: float
) -> LocalCosts:
    """Measure heads and codecs in about `budget_s`, with the images of the sample.

    The first cuts divide the work evenly. Each further cut divides the interval with the largest interpolation error,
    until that error is below 3 % of the whole model's time, 17 heads are measured, or the budget is spent."""
    deadline = time.monotonic() + budget_s
    profiler = _LocalProfiler(target, sample, codec_names)
    cuts = inner_cuts(target.bundle)
    for cut in dict.fromkeys([*evenly_spaced_cuts(cuts, _FIRST_HEADS + 1), *cuts[-1:]]):
        if not profiler.has_measured(cut) and (time.monotonic() < deadline or not profiler.count):
            profiler.measure(cut)
    while profiler.count < _MAX_HEADS and time.monotonic() < deadline:
        worst = _find_worst(cuts, [*profiler.head_times().values()])
        if worst is None:
            break
        profiler.measure(worst)
    if not profiler.count:
        profiler.measure_upload()
    return LocalCosts(profiler.head_times(), profiler.codec_costs())


def measure_whole_us(bundle: Bundle, runtime: Runtime, sample: ImageSample) -> float:
    """Measure µs of the whole model on one image, to compare with a cached profile."""
    whole = compile_tail(runtime, bundle, bundle.input_cut)
    return _us_per_image(whole, _input_batch(bundle, WHOLE_MODEL_BATCH, sample), _image_decoder(bundle, sample))


def inner_cuts(bundle: Bundle) -> list[Cut]:
    """The cuts with work on both sides, by the head's work in ascending order."""
    return sorted((cut for cut in bundle.cuts if cut.head_macs), key=lambda cut: cut.head_macs)


def evenly_spaced_cuts(cuts: Sequence[Cut], parts: int) -> list[Cut]:
    """The cuts nearest to the borders of `parts` equal parts of the work, without duplicates."""
    wanted = [(cut.head_macs + cut.tail_macs) * part / parts for cut in cuts[:1] for part in range(1, parts)]
    near = [min(cuts, key=lambda cut, at=at: abs(cut.head_macs - at)) for at in wanted]  # type: ignore[misc]
    return list(dict.fromkeys(near))


def fit_affine(frames: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Fit frames (elements, µs) to (µs per element, µs per frame).

    The smallest frame is taken as exact; the median slope from it to the larger frames is the cost per element."""
    (fewest, base_us), *others = sorted(frames)
    slopes = [(spent_us - base_us) / (elements - fewest) for elements, spent_us in others if elements > fewest]
    element_us = max(0.0, statistics.median(slopes)) if slopes else base_us / fewest
    return element_us, max(0.0, base_us - element_us * fewest)


@dataclass(frozen=True, slots=True)
class _CodecTimes:
    """Measurements of a codec at a cut: frames as (elements, µs to encode), and bytes per element."""

    frames: tuple[tuple[int, float], ...]
    element_bytes: float


class _LocalProfiler:
    """Collects measurements cut by cut; the whole model is measured at construction."""

    def __init__(self, target: ProfileTarget, sample: ImageSample, codec_names: Sequence[str]) -> None:
        self._bundle, self._runtime, self._codec_names = target.bundle, target.runtime, codec_names
        self._images = _input_batch(target.bundle, max(target.batches), sample)
        self._decode_image = _image_decoder(target.bundle, sample)
        whole = compile_tail(target.runtime, target.bundle, target.bundle.input_cut)
        work = float(target.bundle.input_cut.tail_macs)
        self._points = {batch: {0.0: 0.0, work: self._head_us(whole, batch)} for batch in target.batches}
        self._codec_times: list[tuple[Cut, dict[str, _CodecTimes]]] = []

    @property
    def count(self) -> int:
        """How many cuts were measured."""
        return len(self._codec_times)

    def has_measured(self, cut: Cut) -> bool:
        """Whether a head of equal work was measured."""
        return all(cut.head_macs in points for points in self._points.values())

    def measure(self, cut: Cut) -> None:
        """Measure the head at all batch sizes, and the codecs on its output."""
        head = compile_head(self._runtime, self._bundle, cut)
        for batch, points in self._points.items():
            points[float(cut.head_macs)] = self._head_us(head, batch)
        self._measure_codecs(cut, head([self._images[:_CODEC_BATCH]]))

    def measure_upload(self) -> None:
        """Measure the codecs on the model's input, for a model without inner cuts."""
        self._measure_codecs(self._bundle.input_cut, [self._images])

    def head_times(self) -> dict[int, PiecewiseLinear]:
        """By batch size, µs per image over work."""
        return {batch: PiecewiseLinear.from_points(points.items()) for batch, points in self._points.items()}

    def codec_costs(self) -> dict[str, CodecCost]:
        """The codecs' costs fitted over all measured cuts."""
        measured = sorted(self._codec_times, key=lambda pair: pair[0].head_macs)
        costs = {}
        for name in self._codec_names:
            element_us, frame_us = fit_affine([frame for _, times in measured for frame in times[name].frames])
            sizes = PiecewiseLinear(tuple((float(cut.head_macs), times[name].element_bytes) for cut, times in measured))
            costs[name] = CodecCost(element_us, 0.0, sizes, frame_us)
        return costs

    def _head_us(self, segment: Segment, batch: int) -> float:
        return _us_per_image(segment, self._images[:batch], self._decode_image)

    def _measure_codecs(self, cut: Cut, tensors: Sequence[np.ndarray]) -> None:
        """Encode frames of one image and of all images."""
        times = {}
        for name in self._codec_names:
            frames = []
            for batch in (1, len(tensors[0])):
                part = [tensor[:batch] for tensor in tensors]
                encoded = wire_tensors.encode(name, cut.boundary, part)
                spent_us = _fastest_call_us(
                    lambda name=name, part=part: wire_tensors.encode(name, cut.boundary, part),  # type: ignore[misc]
                    _CODEC_MIN_S,
                )
                frames.append((cut.elements * batch, spent_us))
            element_bytes = sum(len(tensor.data) for tensor in encoded) / frames[-1][0]
            times[name] = _CodecTimes(tuple(frames), element_bytes)
        self._codec_times.append((cut, times))


def _find_worst(cuts: Sequence[Cut], curves: Sequence[PiecewiseLinear]) -> Cut | None:
    """A cut near the middle of the wider interval beside the point with the largest interpolation error; None when all
    errors are small."""
    error, work = max((pair[::-1] for curve in curves for pair in curve.leave_one_out_errors()), default=(0.0, 0.0))
    if error < _MAX_ERROR:
        return None
    measured = [point for point, _ in curves[0].points]
    place = measured.index(work)
    sides = [(measured[place - 1], work), (work, measured[place + 1])]
    for low, high in sorted(sides, key=lambda side: side[0] - side[1]):
        between = [cut for cut in cuts if low < cut.head_macs < high]
        if between:
            return min(between, key=lambda cut: abs(cut.head_macs - (low + high) / 2))
    return None


def _input_batch(bundle: Bundle, batch: int, sample: ImageSample) -> np.ndarray:
    """The sample's pixels repeated to a batch (batch, H, W, C)."""
    dtype = NUMPY_DTYPES[bundle.input.datatype]
    repeated: np.ndarray = np.resize(sample.pixels, (batch, *sample.pixels.shape[1:])).astype(dtype, copy=False)
    return repeated


def _image_decoder(bundle: Bundle, sample: ImageSample) -> Callable[[], object]:
    """A function that decodes an image."""
    return lambda: decode(sample.files[0], bundle.preprocessing)


def _us_per_image(segment: Segment, images: np.ndarray, before_each: Callable[[], object]) -> float:
    return _fastest_call_us(lambda: segment([images]), _MIN_S, before_each) / len(images)


def _fastest_call_us(call: Callable[[], object], min_s: float, before_each: Callable[[], object] = int) -> float:
    """µs of the fastest of several calls after a warm-up, because other processes only add time."""
    call()
    spent_us: list[float] = []
    while len(spent_us) < _MIN_CALLS or (sum(spent_us) < min_s * 1e6 and len(spent_us) < _MAX_CALLS):
        before_each()
        start = time.perf_counter_ns()
        call()
        spent_us.append((time.perf_counter_ns() - start) / 1000)
    return min(spent_us)
