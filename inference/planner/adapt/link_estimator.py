"""How things are now, told from the stage times that come with every answer, against what the profile says."""

import math
import statistics
from collections import deque
from dataclasses import dataclass, replace
from itertools import pairwise

from hybrid_batch.inference.planner.adapt.transfers import Transfer, link_rate
from hybrid_batch.inference.planner.plan.candidates import Conditions
from hybrid_batch.inference.planner.profile.profile import Link, Profile

_KEPT = 8
_FEW = 3
_SHORT_US = 5_000  # such frames tell that the link is at least so fast: the rest is what computers take
_STEADY = 1.25  # a rate told within this factor of the one believed is the same rate


@dataclass(frozen=True, slots=True)
class Seen:
    """An answered batch: how many images, µs an image of the tail against what the profile says, and its transfer;
    `answered_us` on the transfers' clock."""

    images: int
    tail_us: float
    told_tail_us: float
    transfer: Transfer
    answered_us: float


class Watch:
    """Robust estimates over the last few batches. Not for several threads at once."""

    def __init__(self, profile: Profile, in_flight: int = 4) -> None:
        assert profile.tail is not None  # noqa: S101 - without a tail there is nothing to watch
        self._link: Link = profile.tail.link
        self._seen: deque[Seen] = deque(maxlen=max(_KEPT, 2 * in_flight))
        self._forgotten_us = -math.inf  # until then others than those kept were on their way
        self._heads: deque[float] = deque(maxlen=_KEPT)

    @property
    def link(self) -> Link:
        """What is believed of it now."""
        return self._link

    @property
    def last_us(self) -> float:
        """When the last answer came; 0 before any."""
        return self._seen[-1].answered_us if self._seen else 0.0

    @property
    def conditions(self) -> Conditions:
        """What is believed now, speeds in steps of a tenth: what is nearly the same is the same."""
        return Conditions(self._link, _stepped(self._head()), _stepped(self._tail()))

    def head(self, factor: float) -> None:
        """A head took this many times what the profile says."""
        self._heads.append(factor)

    def answer(self, seen: Seen, link_us: float) -> None:
        """An answer came, after so long on the link."""
        if len(self._seen) == self._seen.maxlen:
            self._forgotten_us = max(self._forgotten_us, self._seen[0].transfer.end_us)
        self._seen.append(seen)
        if link_us < self._link.round_trip_us:
            self._link = replace(self._link, round_trip_us=link_us)

    def forget(self) -> None:
        """What was seen tells nothing any more: the tail was away, or batches go another way now."""
        self._forgotten_us = max((seen.transfer.end_us for seen in self._seen), default=self._forgotten_us)
        self._seen.clear()

    def tell(self, silence_us: float = 0, waiting_bytes: int = 0, waiting_since_us: float = math.inf) -> None:
        """Believe another rate if the answers say so, or their absence: no answer for so long although so many bytes
        are on their way, the first of them since then, bounds the rate."""
        transfers = self._telling()
        rate = self._rate(transfers, waiting_since_us) if transfers else None
        if rate and statistics.median(one.end_us - one.start_us for one in transfers) < _SHORT_US:
            rate = max(rate, self._link.rate_bps)
        if waiting_bytes and silence_us > 0:
            rate = min(rate or self._link.rate_bps, waiting_bytes * 8e6 / silence_us)
        if rate is not None and not 1 / _STEADY <= rate / max(self._link.rate_bps, 1) <= _STEADY:
            self._link = Link(rate, self._link.round_trip_us)

    def _telling(self) -> list[Transfer]:
        """The transfers that tell the rate now. One that had the link to itself tells it alone, and two that did all;
        of those that shared it only many together do."""
        transfers = [seen.transfer for seen in self._seen]
        last = transfers[-3:]
        if len(last) == 3 and all(one.end_us <= next_.start_us for one, next_ in pairwise(last)):
            return last[1:]
        return transfers if len(transfers) >= _FEW else []

    def _rate(self, transfers: list[Transfer], waiting_since_us: float) -> float | None:
        """Where frames that are forgotten or not yet answered shared the link, the others tell too little of it."""
        alone_us = min(waiting_since_us, transfers[-1].end_us) - self._forgotten_us
        if math.isfinite(alone_us) and alone_us > statistics.median(one.end_us - one.start_us for one in transfers) / 2:
            return link_rate(transfers, self._forgotten_us, waiting_since_us)
        return link_rate(transfers)

    def _head(self) -> float:
        return min(4.0, max(0.25, statistics.median(self._heads))) if len(self._heads) >= _FEW else 1.0

    def _tail(self) -> float:
        """Requests that wait are computed together and each is told the time of all, so that the time between
        answers bounds what one can have taken."""
        if len(self._seen) < _FEW:
            return 1.0
        told = statistics.median(seen.tail_us / max(seen.told_tail_us, 1.0) for seen in self._seen)
        passed = self._seen[-1].answered_us - self._seen[0].answered_us
        images = sum(seen.images for seen in list(self._seen)[1:])
        expected = statistics.median(seen.told_tail_us for seen in self._seen)
        return max(0.25, min(told, passed / max(images, 1) / max(expected, 1.0)) if passed else told)


def _stepped(factor: float) -> float:
    return float(1.1 ** round(math.log(factor, 1.1)))
