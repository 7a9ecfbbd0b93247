"""Limits the lines that clients can make a server write."""

import logging
import time
from collections.abc import Callable

_LINES, _PERIOD_S = 5, 10.0
_LOGGERS = ("uvicorn.error", "asyncio")
# Each of these is the doing of one client, is answered, and is counted in the metrics.
_CLIENTS = ("Invalid HTTP request", "Unsupported upgrade request", "No supported WebSocket library")


class LogLimit(logging.Filter):
    """Passes up to `lines` records in `period_s` seconds; the next one that passes counts those that were dropped."""

    def __init__(
        self, lines: int = _LINES, period_s: float = _PERIOD_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._lines, self._period_s, self._now = lines, period_s, now
        self._start, self._passed, self._dropped = -period_s, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        if record.levelno < logging.WARNING:
            return True
        if str(record.msg).startswith(_CLIENTS):
            return False
        now = self._now()
        if now - self._start >= self._period_s:
            self._start, self._passed = now, 0
        if self._passed >= self._lines:
            self._dropped += 1
            return False
        self._passed += 1
        if self._dropped:
            record.msg = f"{record.getMessage()} ({self._dropped} more lines were dropped)"
            record.args, self._dropped = (), 0
        return True


def limit_logs() -> None:
    """Limit the lines of uvicorn and asyncio in this process."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(found, LogLimit) for found in logger.filters):
            logger.addFilter(LogLimit())
