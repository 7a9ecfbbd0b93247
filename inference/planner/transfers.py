"""The link's rate told from the answers of a run, which come anyway.

Several frames share the link, so that no single one tells its rate: of four at once each takes four times as long.
The bytes of all over the time in which at least one was on its way do, whether the link is full or mostly idle.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transfer:
    """A frame's bytes, and when (µs of one clock) it was on its way: round trip and the tail's time are left out."""

    sent_bytes: int
    start_us: float
    end_us: float


def link_rate(
    transfers: Sequence[Transfer], start_us: float = float("-inf"), end_us: float = float("inf")
) -> float | None:
    """Bits a second; None when they tell none. Of frames still on their way, with `end_us` now, an upper bound.

    Between `start_us` and `end_us`, where no others than these were on their way: a frame's bytes count by the part
    of its time that is between them."""
    busy, sent, until = 0.0, 0.0, start_us
    for transfer in sorted(transfers, key=lambda one: one.start_us):
        start, end = max(transfer.start_us, start_us), min(transfer.end_us, end_us)
        if start < end:
            busy += max(0.0, end - max(start, until))
            sent += transfer.sent_bytes * (end - start) / (transfer.end_us - transfer.start_us)
            until = max(until, end)
    return sent * 8e6 / busy if busy > 0 and sent else None
