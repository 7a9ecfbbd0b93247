"""How long to wait for a tail, and how often to ask it."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a tail, and how often to ask it: `connect_s` to be connected, `answer_s` until it takes the
    next piece of a request, and then for its answer. Pauses double from the first to the longest, each
    cut short by a random part, and are at least what the server asks for up to `longest_retry_after_s`. Who waited
    `silence_s` in vain is told so."""

    connect_s: float = 5.0
    answer_s: float = 60.0
    attempts: int = 6
    silence_s: float = 10.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    longest_retry_after_s: float = 30.0

    def pause_s(self, failures: int, retry_after: str | None) -> float:
        """Before the next attempt, after so many failures and the server's Retry-After."""
        pause: float = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (failures - 1)) * random.uniform(0.5, 1)  # noqa: S311
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            pause = max(pause, min(float(retry_after), self.longest_retry_after_s))
        return pause
