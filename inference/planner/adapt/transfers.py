"""The link's rate told from the answers of a run, which come anyway.

Several frames share the link, so that no single one tells its rate: of four at once each takes four times as long.
The bytes of all over the time in which at least one was on its way do, whether the link is full or mostly idle.
Replies take time of their own as far as a frame has the link to itself; else they come while others go.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transfer:
    """A frame's bytes and its reply's, and when (µs of one clock) they were on their way: round trip and the tail's
    time are left out."""

    sent_bytes: int
    received_bytes: int
    start_us: float
    end_us: float


def link_rate(
    transfers: Sequence[Transfer], start_us: float = float("-inf"), end_us: float = float("inf")
) -> float | None:
    """Bits a second; None when they tell none. Of frames still on their way, with `end_us` now, an upper bound.

    Between `start_us` and `end_us`, where no others than these were on their way: a frame's bytes count by the part
    of its time that is between them."""
    busy, all_us, sent, received, until = 0.0, 0.0, 0.0, 0.0, start_us
    for transfer in sorted(transfers, key=lambda one: one.start_us):
        start, end = max(transfer.start_us, start_us), min(transfer.end_us, end_us)
        if start < end:
            busy += max(0.0, end - max(start, until))
            all_us += end - start
            part = (end - start) / (transfer.end_us - transfer.start_us)
            sent, received = sent + part * transfer.sent_bytes, received + part * transfer.received_bytes
            until = max(until, end)
    if busy <= 0 or not sent:
        return None
    alone = max(0.0, 2 - all_us / busy)
    return (max(sent, received) + alone * min(sent, received)) * 8e6 / busy
