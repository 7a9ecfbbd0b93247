"""The order and the memory of images that wait for a decoding thread."""

import threading
from collections.abc import Iterator

import pytest

from hybrid_batch.data.images.decoding import decoding_queue
from hybrid_batch.data.images.decoding.decoding_queue import DecodingQueue
from hybrid_batch.data.images.decoding.pixel_budget import DecodingCost
from tests.conftest import HANG_S


def cost(work: int, peak_bytes: int = 1) -> DecodingCost:
    return DecodingCost(1, 1, pixels=work, weight=1, peak_bytes=peak_bytes)


class Requests:
    """Requests whose steps note their names. The first step of all waits until `start` is called."""

    def __init__(self, queue: DecodingQueue) -> None:
        self.order: list[str] = []
        self._queue, self._started, self._going = queue, threading.Event(), threading.Event()
        queue.add(cost(1), self._hold())
        assert self._started.wait(HANG_S)

    def add(self, name: str, images: int, each: DecodingCost) -> None:
        self._queue.add(each, self._steps(name, images, each))

    def run(self) -> list[str]:
        """The names of all steps in their order."""
        self._going.set()
        self._queue.close()
        return self.order

    def _hold(self) -> Iterator[DecodingCost]:
        self._started.set()
        assert self._going.wait(HANG_S)
        yield from ()

    def _steps(self, name: str, images: int, each: DecodingCost) -> Iterator[DecodingCost]:
        for number in range(images):
            self.order.append(name)
            if number < images - 1:
                yield each


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_queue.os, "cpu_count", lambda: 1)


@pytest.mark.usefixtures("one_thread")
def test_a_small_image_overtakes_large_ones_that_wait() -> None:
    requests = Requests(DecodingQueue(100))
    for name in ("large 1", "large 2", "large 3"):
        requests.add(name, 4, cost(1000))
    requests.add("small", 1, cost(10))
    assert requests.run()[0] == "small"


@pytest.mark.usefixtures("one_thread")
def test_requests_take_turns() -> None:
    requests = Requests(DecodingQueue(100))
    requests.add("first", 3, cost(100))
    requests.add("second", 3, cost(100))
    assert requests.run() == ["first", "second"] * 3


@pytest.mark.usefixtures("one_thread")
def test_a_large_request_is_served_among_many_small_ones() -> None:
    requests = Requests(DecodingQueue(100))
    requests.add("large", 1, cost(300))
    requests.add("small", 10, cost(100))
    assert requests.run().index("large") < 5


def test_images_decoded_at_once_need_at_most_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_queue.os, "cpu_count", lambda: 4)
    queue, lock = DecodingQueue(100), threading.Lock()
    held, most = [0], [0]

    def steps(size: int) -> Iterator[DecodingCost]:
        for _ in range(20):
            with lock:
                held[0] += size
                most[0] = max(most[0], held[0])
            with lock:
                held[0] -= size
            yield cost(size, size)

    for size in (30, 40, 60, 150):
        queue.add(cost(size, size), steps(size))
    queue.close()
    assert most[0] <= 150  # one alone may need more than the limit of 100


def test_a_request_that_is_given_up_leaves_the_queue() -> None:
    requests = Requests(DecodingQueue(100))
    requests.add("given up", 1, cost(5))
    requests.add("other", 2, cost(5))
    assert sorted(requests.run()) == ["given up", "other", "other"]
