"""Present conditions of the link, the tail and this machine, estimated from the last responses.

Frames share the link, so a single response does not show its rate: each of four frames sent at once takes four times as
long. The bytes of all frames over the time in which at least one was on the link do show it, whether the link is full
or mostly idle. A reply takes time of its own where its frame has the link to itself; otherwise it arrives while other
frames are sent.
"""

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from hybrid_batch.inference.planner.plan.cost_model import Conditions
from hybrid_batch.inference.planner.profile.profile import Link, Profile

_HISTORY = 8
_MIN_OBSERVATIONS = 3
_SHORT_US = 5_000  # shorter transfers give a lower bound of the rate: their time is mostly that of the computers
_SAME_RATE = 1.25  # a rate within this factor of the estimate does not change it
_MIN_FACTOR, _MAX_HEAD_FACTOR = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes of a frame and of its reply, and when, in µs of one clock, they were on the link: without the round trip of
    an empty frame and the tail's time."""

    sent_bytes: int
    received_bytes: int
    start_us: float
    end_us: float


@dataclass(frozen=True, slots=True)
class Observation:
    """A response of the tail: its images, µs per image in the tail, measured and predicted by the profile, and the
    transfer. `received_us` is on the transfer's clock."""

    images: int
    tail_us: float
    predicted_tail_us: float
    transfer: Transfer
    received_us: float


def link_rate(transfers: Sequence[Transfer], start_us: float = -math.inf, end_us: float = math.inf) -> float | None:
    """The link's rate in bits per second between two times, between which only these transfers were on the link.

    A transfer's bytes count by the share of its time between them. If other frames are still on the link at `end_us`,
    the result is an upper bound. None if the transfers have no bytes or no time."""
    busy_us, total_us, sent, received, until_us = 0.0, 0.0, 0.0, 0.0, start_us
    for transfer in sorted(transfers, key=lambda transfer: transfer.start_us):
        start, end = max(transfer.start_us, start_us), min(transfer.end_us, end_us)
        if start < end:
            busy_us += max(0.0, end - max(start, until_us))
            total_us += end - start
            share = (end - start) / (transfer.end_us - transfer.start_us)
            sent, received = sent + share * transfer.sent_bytes, received + share * transfer.received_bytes
            until_us = max(until_us, end)
    if busy_us <= 0 or not sent:
        return None
    alone = max(0.0, 2 - total_us / busy_us)  # 1 if transfers never overlap, 0 if two are always on the link
    return (max(sent, received) + alone * min(sent, received)) * 8e6 / busy_us


class LinkEstimator:
    """Robust estimates over the last few responses. Not thread-safe."""

    def __init__(self, profile: Profile, in_flight: int = 4) -> None:
        assert profile.tail is not None  # noqa: S101 - only a profile with a tail has a link
        self._link: Link = profile.tail.link
        self._observations: deque[Observation] = deque(maxlen=max(_HISTORY, 2 * in_flight))
        self._forgotten_us = -math.inf  # until this time, transfers that are no longer known shared the link
        self._head_factors: deque[float] = deque(maxlen=_HISTORY)

    @property
    def link(self) -> Link:
        """The present estimate of the link."""
        return self._link

    @property
    def last_response_us(self) -> float:
        """The time of the last response; 0 before the first."""
        return self._observations[-1].received_us if self._observations else 0.0

    @property
    def conditions(self) -> Conditions:
        """The present conditions. Factors are rounded to powers of 1.1, so that small changes make no difference."""
        return Conditions(self._link, _rounded(self._head_factor()), _rounded(self._tail_factor()))

    def observe_head(self, factor: float) -> None:
        """Add a head's time, as a multiple of the profile's."""
        self._head_factors.append(factor)

    def observe_response(self, observation: Observation, link_us: float) -> None:
        """Add a response that spent `link_us` on the link, round trip included."""
        if len(self._observations) == self._observations.maxlen:
            self._forgotten_us = max(self._forgotten_us, self._observations[0].transfer.end_us)
        self._observations.append(observation)
        if link_us < self._link.round_trip_us:
            self._link = replace(self._link, round_trip_us=link_us)

    def reset(self) -> None:
        """Discard the responses, because the tail was unreachable or the split has changed."""
        ends = (observation.transfer.end_us for observation in self._observations)
        self._forgotten_us = max(ends, default=self._forgotten_us)
        self._observations.clear()

    def update(self, stall_us: float = 0, in_flight_bytes: int = 0, oldest_sent_us: float = math.inf) -> None:
        """Estimate the rate again.

        A stall bounds the rate: no response for `stall_us` although `in_flight_bytes` are on the link. The oldest frame
        in flight was sent at `oldest_sent_us`."""
        transfers = self._telling_transfers()
        rate = self._rate(transfers, oldest_sent_us) if transfers else None
        if rate and _median_us(transfers) < _SHORT_US:
            rate = max(rate, self._link.rate_bps)
        if in_flight_bytes and stall_us > 0:
            rate = min(rate or self._link.rate_bps, in_flight_bytes * 8e6 / stall_us)
        if rate is not None and not 1 / _SAME_RATE <= rate / max(self._link.rate_bps, 1) <= _SAME_RATE:
            self._link = Link(rate, self._link.round_trip_us)

    def _telling_transfers(self) -> list[Transfer]:
        """The transfers that determine the rate: the last two if the last three were alone on the link, else all of
        at least three."""
        transfers = [observation.transfer for observation in self._observations]
        last = transfers[-3:]
        if len(last) == 3 and all(first.end_us <= second.start_us for first, second in pairwise(last)):
            return last[1:]
        return transfers if len(transfers) >= _MIN_OBSERVATIONS else []

    def _rate(self, transfers: list[Transfer], oldest_sent_us: float) -> float | None:
        """The rate in the time without forgotten transfers and frames in flight, if that is long enough, else in all
        the time."""
        alone_us = min(oldest_sent_us, transfers[-1].end_us) - self._forgotten_us
        if math.isfinite(alone_us) and alone_us > _median_us(transfers) / 2:
            return link_rate(transfers, self._forgotten_us, oldest_sent_us)
        return link_rate(transfers)

    def _head_factor(self) -> float:
        if len(self._head_factors) < _MIN_OBSERVATIONS:
            return 1.0
        return min(_MAX_HEAD_FACTOR, max(_MIN_FACTOR, statistics.median(self._head_factors)))

    def _tail_factor(self) -> float:
        """The median factor, bounded by the time between responses: requests that are computed together each report
        the time of all."""
        if len(self._observations) < _MIN_OBSERVATIONS:
            return 1.0
        observations = list(self._observations)
        factor = statistics.median(one.tail_us / max(one.predicted_tail_us, 1.0) for one in observations)
        passed_us = observations[-1].received_us - observations[0].received_us
        if passed_us:
            images = max(sum(one.images for one in observations[1:]), 1)
            predicted_us = max(statistics.median(one.predicted_tail_us for one in observations), 1.0)
            factor = min(factor, passed_us / images / predicted_us)
        return max(_MIN_FACTOR, factor)


def _median_us(transfers: Sequence[Transfer]) -> float:
    return statistics.median(transfer.end_us - transfer.start_us for transfer in transfers)


def _rounded(factor: float) -> float:
    return float(1.1 ** round(math.log(factor, 1.1)))
