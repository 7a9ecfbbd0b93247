"""Levels of load on a real server, with slow and hostile clients among the honest ones."""

import asyncio
import resource
import threading
import time

import pytest

from tests.load.clients import Outcome, honest, hostile
from tests.remote.limited_server import limited_server, request

pytestmark = pytest.mark.slow

LEVELS = (1, 10, 100, 500, 2000)
HOSTILE_SHARE = 4  # one client of so many
GENEROUS_S = 60.0  # a busy machine; the goal is 2 s
MOST_BYTES = 1 << 30


async def serve_clients(address, clients: int, requests: int, content: bytes) -> Outcome:
    """The outcome of a level: all honest clients start at once, while hostile ones are at work."""
    bad = [asyncio.create_task(hostile(address, seed)) for seed in range(clients // HOSTILE_SHARE)]
    await asyncio.sleep(0.2 if bad else 0)
    outcome = Outcome()
    await asyncio.gather(*(honest(address, requests, outcome, content) for _ in range(clients - len(bad))))
    for task in bad:
        task.cancel()
    await asyncio.gather(*bad, return_exceptions=True)
    return outcome


@pytest.fixture
def descriptors():
    """As many descriptors as the largest level needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 3 * LEVELS[-1])), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_honest_clients_are_answered_among_hostile_ones(rounds, descriptors):
    levels, requests = LEVELS[: rounds(3, 5)], rounds(3, 20)
    with limited_server() as server:
        most, stop = [0], threading.Event()

        def watch():
            while not stop.wait(0.1):
                most[0] = max(most[0], server.rss())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for clients in levels:
                start = time.monotonic()
                outcome = asyncio.run(serve_clients(server.address, clients, requests, request()))
                p50, p99 = outcome.quantile(0.5), outcome.quantile(0.99)
                print(  # noqa: T201
                    f"{clients:5} clients, {clients // HOSTILE_SHARE} of them hostile: p50 {p50 * 1000:.0f} ms, "
                    f"p99 {p99 * 1000:.0f} ms, {len(outcome.seconds) / (time.monotonic() - start):.0f} requests/s, "
                    f"RSS {most[0] >> 20} MiB, statuses {dict(outcome.statuses)}"
                )
                assert outcome.statuses[200] == len(outcome.seconds)
                assert p99 < GENEROUS_S
        finally:
            stop.set()
            watcher.join()
        assert most[0] < MOST_BYTES
        assert len(server.log()) < 10_000
        assert server.stop() == 0
