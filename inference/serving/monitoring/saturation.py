"""Readiness of a server that is nearly saturated."""

from collections.abc import Callable

SATURATED_SHARE, RECOVERED_SHARE, SUSTAINED_S = 0.9, 0.6, 2.0


class Saturation:
    """Whether a load balancer should send requests elsewhere: when the load has reached SATURATED_SHARE of a limit and
    has not fallen below RECOVERED_SHARE for SUSTAINED_S, so that no single burst does it; until the load is below
    RECOVERED_SHARE. `now` is a monotonic clock in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since: float | None = None

    def update(self, share: float) -> bool:
        """Whether the server is saturated with this share of its limits in use. To be called at each change."""
        if self._since is None:
            self._since = self._now() if share >= SATURATED_SHARE else None
        elif share < RECOVERED_SHARE:
            self._since = None
        return self._since is not None and self._now() - self._since >= SUSTAINED_S
