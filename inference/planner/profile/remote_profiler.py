"""Measure the tail and the link with real frames through the tail's own server.

The tail's speed is measured with frames of zeros, which compress to few bytes, so that a slow link does not slow the
measurement. The link's rate is measured with incompressible frames of two sizes: their fixed costs cancel out.
"""

import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.errors import TailUnreachable
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.datatypes import FLOAT_DATATYPES, NUMPY_DTYPES
from hybrid_batch.inference.planner.profile.local_profiler import evenly_spaced_cuts, fit_affine, inner_cuts
from hybrid_batch.inference.planner.profile.piecewise_linear import PiecewiseLinear
from hybrid_batch.inference.planner.profile.profile import Link, TailProfile
from hybrid_batch.inference.planner.profile.target import ProfileTarget
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.infer_response import InferResponse
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.tails import Tail
from hybrid_batch.inference.tails.local import LocalTail

_CUTS, _CALLS, _OVERHEAD_REQUESTS = 5, 3, 12
_EMPTY_FRAMES = 4
_LONG_US = 150_000  # a frame that takes this long on the link is large enough to measure the rate
_LARGEST_BYTES = 1 << 20
_SMALL_CODECS = ("int8", codecs.FP16)  # zeros take few bytes in the first; older tails lack it
_MEDIUM_ELEMENTS = 25_000  # few enough for a slow link, enough to time the decoding
_FILLING_IMAGES = 64  # to fill a frame
_REQUEST_SHARE = 4  # a request this much larger than its reply measures one direction of the link
# The reported times may miss this much of a round trip before they count as wrong.
_MISMATCH_US, _MISMATCH_FACTOR = 20_000, 2.0
_SLOWER, _REPEATS = 1.25, 3  # repeated, because other processes' load varies


@dataclass(frozen=True, slots=True)
class RemoteCosts:
    """The tail's profile, and for each codec the tail's decoding time as (µs per element, µs per frame)."""

    tail: TailProfile
    decode_us: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class TailSample:
    """The times of one batch at one cut, in µs of the batch, the fastest of several requests.

    `reported_us` is the runtime's call by the tail's own clock. `round_trip_us` is measured on this machine, without
    the reported decoding time; `measured_us` is the round trip less the link's estimated share."""

    cut: Cut
    batch: int
    reported_us: float
    measured_us: float
    round_trip_us: float


def measure_remote(
    target: ProfileTarget,
    tail: Tail,
    image_files: Sequence[bytes],
    codec_names: Sequence[str],
    time_local_work: Callable[[], float],
    *,
    budget_s: float,
) -> RemoteCosts:
    """Measure a tail in about `budget_s`.

    `time_local_work` returns µs of some fixed work on this machine; it is called with the tail idle and busy, to detect
    a tail on the same cores. Raises TailUnreachable, BundleMismatch, TailRefused."""
    bundle = target.bundle
    deadline = time.monotonic() + budget_s
    tail.check(bundle.input_cut.id)
    link = measure_link(bundle, tail)
    samples = list(_sample_cuts(target, tail, link, deadline))
    mismatch = timing_mismatch(samples)
    in_process = isinstance(tail, LocalTail)
    shares_cores = in_process or all(_slows_local_work(bundle, tail, time_local_work) for _ in range(_REPEATS))
    image_decode_us = _image_decode_us(bundle, tail, image_files)
    decode_us = _decode_us(bundle, tail, codec_names)
    client_overhead_us, server_overhead_us = _request_overheads(bundle, tail)
    profile = TailProfile(
        address=target.address,
        times=_tail_times(samples, target.batches, measured=mismatch is not None),
        image_decode_us=image_decode_us,
        link=link,
        shares_cores=shares_cores,
        notes=(f"{target.address} {mismatch}; the measured times are used instead.",) if mismatch else (),
        client_overhead_us=client_overhead_us,
        server_overhead_us=server_overhead_us,
        max_frame_bytes=tail.max_frame_bytes,
        decodes_calibrated=codecs.CALIBRATED in tail.codecs,
    )
    return RemoteCosts(profile, decode_us)


def measure_remote_whole_us(bundle: Bundle, tail: Tail) -> float:
    """Measure µs of the whole model on one image in the tail, to compare with a cached profile."""
    frame = _encode_zeros(tail, bundle.input_cut, 1)
    responses = _infer_repeatedly(tail, bundle.input_cut, frame, math.inf)
    return float(min(response.timings.tail_us for response in responses))


def measure_link(bundle: Bundle, tail: Tail) -> Link:
    """Measure the link's rate and round trip, with frames that grow until one takes long. Raises TailUnreachable."""
    small = sorted(_send_noise(bundle, tail, 0) for _ in range(_EMPTY_FRAMES))
    size = 4096
    while (large := min(_send_noise(bundle, tail, size) for _ in range(2)))[0] - small[0][0] < _LONG_US:
        if size >= _LARGEST_BYTES or 5 * size > (tail.max_frame_bytes or 5 * size):
            break
        size *= 4
    return fit_link(small, large)


def fit_link(small: Sequence[tuple[float, int]], large: tuple[float, int]) -> Link:
    """The link from (µs, bytes) of four small frames, fastest first, and of a large one.

    The small frames' spread, without the slowest, which may have opened a connection, is the error of a time. Where the
    large frame takes longer by less than that, as through a queue, the rate is a lower bound."""
    longer_us, spread_us = large[0] - small[0][0], small[-2][0] - small[0][0]
    rate = (large[1] - small[0][1]) * 8e6 / max(1.0, longer_us, spread_us)
    return Link(rate, max(0.0, small[0][0] - small[0][1] * 8e6 / rate), longer_us <= spread_us)


def timing_mismatch(samples: Sequence[TailSample]) -> str | None:
    """The fault of the reported times of the whole model, as the rest of a sentence; None if they are plausible.

    The link's share of a round trip is only an estimate, so a reported time counts as too long only where it exceeds
    the whole round trip."""
    for sample in samples:
        if sample.cut.head_macs:
            continue
        reports = f"reports {sample.reported_us / 1000:.1f} ms for a batch of {sample.batch}, but"
        missing_us = sample.measured_us - sample.reported_us
        if missing_us > _MISMATCH_US and sample.measured_us > _MISMATCH_FACTOR * sample.reported_us:
            return f"{reports} {sample.measured_us / 1000:.1f} ms were measured"
        if sample.reported_us - sample.round_trip_us > _MISMATCH_US:
            return f"{reports} replies after {sample.round_trip_us / 1000:.1f} ms"
    return None


def _sample_cuts(target: ProfileTarget, tail: Tail, link: Link, deadline: float) -> Iterator[TailSample]:
    """The whole model, then cuts that divide the work evenly, until the deadline."""
    bundle = target.bundle
    for cut in (bundle.input_cut, *evenly_spaced_cuts(inner_cuts(bundle), _CUTS)):
        if cut is not bundle.input_cut and time.monotonic() > deadline:
            return
        tail.check(cut.id)
        for batch in target.batches:
            frame = _encode_zeros(tail, cut, batch)
            responses = _infer_repeatedly(tail, cut, frame, deadline)
            link_us = link.round_trip_us + (responses[0].sent_bytes + responses[0].received_bytes) * 8e6 / link.rate_bps
            reported_us = min(response.timings.tail_us for response in responses)
            round_trip_us = min(response.round_trip_us - response.timings.decode_us for response in responses)
            yield TailSample(cut, batch, reported_us, max(0.0, round_trip_us - link_us), round_trip_us)


def _tail_times(samples: Sequence[TailSample], batches: Sequence[int], *, measured: bool) -> dict[int, PiecewiseLinear]:
    """By batch size, µs per image over the tail's work; zero work takes no time."""
    points: dict[int, list[tuple[float, float]]] = {batch: [(0.0, 0.0)] for batch in batches}
    for sample in samples:
        spent_us = sample.measured_us if measured else sample.reported_us
        points[sample.batch].append((float(sample.cut.tail_macs), spent_us / sample.batch))
    return {batch: PiecewiseLinear.from_points(found) for batch, found in points.items()}


def _infer_repeatedly(tail: Tail, cut: Cut, frame: Frame, deadline: float) -> list[InferResponse]:
    """At least one response, and up to three before the deadline, after a warm-up that allocates memory."""
    responses = [tail.infer(cut.id, frame)]
    while len(responses) < 2 or (len(responses) <= _CALLS and time.monotonic() < deadline):
        responses.append(tail.infer(cut.id, frame))
    return responses[1:]


def _send_noise(bundle: Bundle, tail: Tail, size: int) -> tuple[float, int]:
    """Send a frame of at least `size` bytes; µs on the link and bytes of request and reply.

    The frame is of the latest cut that fills it; of cuts with small replies, if the bundle has any, because the two
    directions of a link may differ in rate."""
    cuts = inner_cuts(bundle) or [bundle.input_cut]
    reply_bytes = 4 * bundle.output.elements
    cuts = [cut for cut in cuts if 2 * cut.elements >= _REQUEST_SHARE * reply_bytes] or cuts
    cut = next((cut for cut in reversed(cuts) if 2 * cut.elements * _FILLING_IMAGES >= size), cuts[0])
    batch = min(wire_tensors.MAX_BATCH, max(1, -(-size // max(1, 2 * cut.elements))))
    response = tail.infer(cut.id, Frame(wire_tensors.encode(codecs.FP16, cut.boundary, _noise(cut, batch))))
    return float(response.link_us), response.sent_bytes + response.received_bytes


def _slows_local_work(bundle: Bundle, tail: Tail, time_local_work: Callable[[], float]) -> bool:
    """Whether local work is slower while the tail works."""
    idle_us = time_local_work()
    frame = _encode_zeros(tail, bundle.input_cut, 8)
    done, failed = threading.Event(), threading.Event()

    def keep_busy() -> None:
        try:
            while not done.is_set():
                tail.infer(bundle.input_cut.id, frame)
        except Exception:
            failed.set()

    clients = [threading.Thread(target=keep_busy) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        busy_us = time_local_work()
    finally:
        done.set()
        for client in clients:
            client.join()
    if failed.is_set():
        raise TailUnreachable(
            "The tail stopped answering during the measurement; check that `hybrid-batch serve` still runs."
        )
    return busy_us > _SLOWER * idle_us


def _image_decode_us(bundle: Bundle, tail: Tail, image_files: Sequence[bytes]) -> float:
    """The tail's µs to decode one image file; 0 if none fits into a frame."""
    files = list(image_files[:4])
    while files and tail.max_frame_bytes is not None and 2 * sum(map(len, files)) > tail.max_frame_bytes:
        files.pop()
    if not files:
        return 0.0
    frame = Frame(wire_tensors.encode_images(bundle.input, files))
    responses = [tail.infer(bundle.input_cut.id, frame) for _ in range(_CALLS + 1)]
    return min(response.timings.decode_us for response in responses) / len(files)


def _request_overheads(bundle: Bundle, tail: Tail) -> tuple[float, float]:
    """Median µs per nearly empty request: CPU time of this process, all threads, and time of the tail."""
    cut = (inner_cuts(bundle) or [bundle.input_cut])[-1]
    tail.check(cut.id)
    frame = _encode_zeros(tail, cut, 1)
    client_us, server_us = [], []
    for _ in range(_OVERHEAD_REQUESTS):
        start = time.process_time_ns()
        timings = tail.infer(cut.id, frame).timings
        client_us.append((time.process_time_ns() - start) / 1000)
        server_us.append(timings.server_us - timings.tail_us)
    return statistics.median(client_us), statistics.median(server_us)


def _decode_us(bundle: Bundle, tail: Tail, codec_names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The tail's decoding time of each codec, from frames of one image of zeros at a small and a medium cut."""
    cuts = inner_cuts(bundle) or [bundle.input_cut]
    smallest = min(cuts, key=lambda cut: cut.elements)
    medium = min(cuts, key=lambda cut: abs(cut.elements - _MEDIUM_ELEMENTS))
    frames: dict[str, list[tuple[int, float]]] = {name: [] for name in codec_names}
    for cut in dict.fromkeys((smallest, medium)):
        tail.check(cut.id)
        for name in codec_names:
            frame = Frame(wire_tensors.encode(name, cut.boundary, _zeros(cut, 1)))
            spent_us = min(tail.infer(cut.id, frame).timings.decode_us for _ in range(_CALLS))
            frames[name].append((cut.elements, float(spent_us)))
    return {name: fit_affine(measured) for name, measured in frames.items()}


def _encode_zeros(tail: Tail, cut: Cut, batch: int) -> Frame:
    codec = next((name for name in _SMALL_CODECS if name in tail.codecs), codecs.FP32)
    return Frame(wire_tensors.encode(codec, cut.boundary, _zeros(cut, batch)))


def _zeros(cut: Cut, batch: int) -> list[np.ndarray]:
    return [np.zeros((batch, *tensor.shape), NUMPY_DTYPES[tensor.datatype]) for tensor in cut.boundary]


def _noise(cut: Cut, batch: int) -> list[np.ndarray]:
    random = np.random.default_rng(batch)
    return [
        random.standard_normal((batch, *tensor.shape)).astype(NUMPY_DTYPES[tensor.datatype])
        if tensor.datatype in FLOAT_DATATYPES
        else np.zeros((batch, *tensor.shape), NUMPY_DTYPES[tensor.datatype])
        for tensor in cut.boundary
    ]
