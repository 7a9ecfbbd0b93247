"""Readiness of a server that is nearly saturated."""

SATURATED_SHARE, RECOVERED_SHARE = 0.9, 0.6


class Saturation:
    """Whether a load balancer should send requests elsewhere: from SATURATED_SHARE of a limit on, until the load is
    below RECOVERED_SHARE."""

    def __init__(self) -> None:
        self._saturated = False

    def update(self, share: float) -> bool:
        """Whether the server is saturated with this share of its limits in use."""
        self._saturated = share >= (RECOVERED_SHARE if self._saturated else SATURATED_SHARE)
        return self._saturated
