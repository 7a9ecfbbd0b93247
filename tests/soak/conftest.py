"""Queues and workers of the queue's tests, for the soak tests too."""

from tests.queue.conftest import make_queue, start_worker

__all__ = ["make_queue", "start_worker"]
