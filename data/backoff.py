"""Pauses between attempts: the one retry and polling policy of all clients."""

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_DOUBLINGS = 64  # a greater exponent would overflow


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow from `first_s` by `factor` up to `max_s`. Each is shortened at random by up to the share
    `jitter` of it, so that clients that failed together do not return together."""

    first_s: float
    max_s: float = math.inf
    factor: float = 2.0
    jitter: float = 0.0

    def pause_s(self, failures: int) -> float:
        """Seconds to pause after this many failures in a row, at least 1."""
        longest = min(self.max_s, self.first_s * self.factor ** min(failures - 1, _MAX_DOUBLINGS))
        return longest * random.uniform(1 - self.jitter, 1)  # noqa: S311 - jitter, not a secret

    def pauses(self) -> Iterator[float]:
        """Seconds to pause after the first failure, the second, and so on without end."""
        failures = 1
        while True:
            yield self.pause_s(failures)
            failures += 1

    def attempts(self, count: int) -> Iterator[bool]:
        """For `count` attempts, at least 1: yields whether the attempt is the last. Sleeps before all but the first."""
        for failures in range(count):
            if failures:
                time.sleep(self.pause_s(failures))
            yield failures == count - 1


AWS_BACKOFF = Backoff(first_s=0.2, jitter=1.0)
AWS_ATTEMPTS = 5
