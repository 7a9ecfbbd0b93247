"""The time during which a tail does not answer one request."""

import time

from hybrid_batch.inference.tails.settings import RetryPolicy


class Outage:
    """The failures of one request, for a sentence: "in 6 attempts and 3 s"."""

    def __init__(self, retries: RetryPolicy) -> None:
        self._retries, self._failures = retries, 0
        self._start, self._longest_s = time.monotonic(), 0.0

    def failed(self, attempt_start: float) -> None:
        """Count a failure of the attempt that began at this reading of `time.monotonic`."""
        self._failures += 1
        self._longest_s = max(self._longest_s, time.monotonic() - attempt_start)

    @property
    def waited_s(self) -> float:
        """Seconds since the request was first sent."""
        return time.monotonic() - self._start

    @property
    def is_over(self) -> bool:
        """Whether to give up."""
        return self._retries.is_over(self._failures, self.waited_s)

    @property
    def is_long(self) -> bool:
        """Whether the user may wonder why nothing happens."""
        return self._longest_s >= self._retries.notice_after_s or self._failures >= self._retries.attempts

    @property
    def outlook(self) -> str:
        """How long requests are sent again, as the end of a sentence."""
        left_s = self._retries.patience_s - self.waited_s
        return f"retrying for {left_s:.0f} s more" if left_s >= 1 else "retrying"

    def pause_s(self, retry_after: str | None) -> float:
        """Seconds until the next attempt; patience is not exceeded."""
        pause_s = self._retries.pause_s(self._failures, retry_after, self.waited_s)
        left_s = self._retries.patience_s - self.waited_s
        return pause_s if self._failures < self._retries.attempts else max(0.0, min(pause_s, left_s))

    def __str__(self) -> str:
        attempts = "1 attempt" if self._failures == 1 else f"{self._failures} attempts"
        return f"in {attempts} and {self.waited_s:.0f} s" if self.waited_s >= 1 else f"in {attempts}"
