"""The settings of a tail: retries, timeouts, concurrency, and where to find its secrets."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hybrid_batch.data.backoff import Backoff
from hybrid_batch.data.images.decoding.pixel_budget import RUNNER_BUDGET, PixelBudget


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeouts and retries of requests to a tail. `connect_timeout_s` limits connecting, `response_timeout_s` sending
    each piece of a request and then waiting for the response. A request that fails is sent again until it has failed
    `attempts` times and `patience_s` has passed since it was first sent. Pauses between the attempts double from
    `first_pause_s` to `max_pause_s`, shortened at random by up to half, and last at least as long as the server's
    Retry-After asks for, up to `max_retry_after_s` and to what is left of the patience, at least 1 s. After an attempt
    that waited `notice_after_s` in vain, and after `attempts` failures, the user is notified."""

    connect_timeout_s: float = 5.0
    response_timeout_s: float = 60.0
    attempts: int = 6
    patience_s: float = 0.0
    notice_after_s: float = 10.0
    first_pause_s: float = 0.1
    max_pause_s: float = 5.0
    max_retry_after_s: float = 30.0

    def is_over(self, failures: int, waited_s: float) -> bool:
        """Whether to give up after this many failures, `waited_s` after the request was first sent."""
        return failures >= self.attempts and waited_s >= self.patience_s

    def pause_s(self, failures: int, retry_after: str | None, waited_s: float = 0.0) -> float:
        """Seconds to pause before the next attempt, after this many failures and the server's Retry-After, `waited_s`
        after the request was first sent."""
        pause = Backoff(self.first_pause_s, self.max_pause_s, jitter=0.5).pause_s(failures)
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            pause = max(pause, min(float(retry_after), self.max_retry_after_s, max(1.0, self.patience_s - waited_s)))
        return pause


@dataclass(frozen=True, slots=True)
class TailSettings:
    """Up to `in_flight` threads use the tail at once. `spill` is the S3 prefix for bodies too large for the transport,
    `token_file` holds the token of a tail behind HTTP. `notify` is called with a line when the user should know why
    nothing happens. `pixels` limits the image files of the local tail."""

    in_flight: int = 4
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    spill: str | None = None
    token_file: str | None = None
    notify: Callable[[str], None] = lambda _: None
    pixels: PixelBudget = RUNNER_BUDGET
