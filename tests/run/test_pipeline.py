import threading
import time
from collections.abc import Iterator

import pytest

from hybrid_batch.inference.runner.pipeline import DrainGuard, Draining, Pipeline
from tests.conftest import HANG_S


@pytest.fixture
def map_ordered():
    with Pipeline() as pipeline:
        yield pipeline.map_ordered
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test")]


def test_results_are_in_order_whichever_item_finishes_first(map_ordered):
    gates = [threading.Event() for _ in range(3)]

    def stage(item: int) -> int:
        if item == 0:
            gates[2].wait(HANG_S)
        gates[item].set()
        return item * 10

    assert list(map_ordered(stage, range(3), name="test", threads=3)) == [0, 10, 20]


def test_at_most_threads_plus_prefetch_items_are_pulled(map_ordered):
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    results = map_ordered(lambda item: item, items(), name="test", threads=2, prefetch=3)
    for used in range(1, 10):
        next(results)
        assert taken <= used + 2 + 3
    assert taken < 20


def test_a_slow_item_stops_no_other_until_the_reorder_buffer_is_full(map_ordered):
    gate, done = threading.Event(), threading.Event()

    def stage(item: int) -> int:
        if item == 0:
            gate.wait(HANG_S)
        if item == 7:
            done.set()
        return item

    results = map_ordered(stage, range(20), name="test", threads=2, reorder_buffer=6)
    first = threading.Thread(target=lambda: seen.append(next(results)))
    seen: list[int] = []
    first.start()
    assert done.wait(HANG_S)  # 9 items: 2 threads, 1 prefetched, 6 in the reorder buffer
    assert seen == []
    gate.set()
    first.join()
    assert [*seen, *results] == list(range(20))


def test_stages_work_while_the_caller_does(map_ordered):
    both = threading.Barrier(2, timeout=HANG_S)

    def stage(item: int) -> int:
        if item == 1:
            both.wait()
        return item

    results = map_ordered(stage, range(3), name="test")
    assert next(results) == 0
    both.wait()  # times out if item 1 starts only when its result is requested
    assert list(results) == [1, 2]


@pytest.mark.parametrize("where", ["stage", "items"])
def test_an_exception_reaches_the_caller_and_no_item_starts_after_it(where: str, map_ordered):
    started: list[int] = []

    def items() -> Iterator[int]:
        yield 0
        if where == "items":
            raise ValueError("broken")
        yield from range(1, 100)

    def stage(item: int) -> int:
        started.append(item)
        if where == "stage":
            raise ValueError("broken")
        return item

    with pytest.raises(ValueError, match="broken"):
        list(map_ordered(stage, items(), name="test"))
    time.sleep(0.05)
    assert len(started) <= 2


def test_a_result_passes_on_before_the_next_item_exists(map_ordered):
    arrived: list[int] = []
    turns = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for item in range(3):
            assert turns[item].wait(HANG_S)
            yield item

    results = map_ordered(lambda item: item + 1, map_ordered(lambda item: item * 10, items(), name="test"), name="test")
    for item in range(3):
        turns[item].set()
        arrived.append(next(results))
    assert arrived == [1, 11, 21]


def test_leaving_stops_all_stages_and_waits_for_running_items():
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()

    def slow(item: int) -> int:
        begun.set()
        gate.wait(HANG_S)
        done.set()
        return item

    with pytest.raises(KeyboardInterrupt), Pipeline() as pipeline:
        pipeline.map_ordered(lambda item: item, pipeline.map_ordered(slow, range(9), name="test"), name="test")
        assert begun.wait(HANG_S)
        threading.Timer(0.1, gate.set).start()
        raise KeyboardInterrupt
    assert done.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test")]


def test_an_interrupt_while_threads_start_is_raised_unchanged(monkeypatch):
    """Threads that never started cannot be joined."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == "test_1":
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), Pipeline() as pipeline:
        pipeline.map_ordered(lambda item: item, range(9), name="test", threads=3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test")]


def test_an_interrupt_gives_a_stage_that_need_not_be_awaited_time_to_finish(monkeypatch):
    monkeypatch.setattr("hybrid_batch.inference.runner.pipeline._INTERRUPT_GRACE_S", HANG_S)
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()

    def computing(item: int) -> int:
        begun.set()
        gate.wait(HANG_S)
        done.set()
        return item

    with pytest.raises(KeyboardInterrupt), Pipeline() as pipeline:
        pipeline.map_ordered(computing, range(9), name="test", wait_on_interrupt=False)
        assert begun.wait(HANG_S)
        threading.Timer(0.1, gate.set).start()
        raise KeyboardInterrupt
    assert done.is_set()


def test_an_interrupt_does_not_wait_longer_for_a_stage_that_need_not_be_awaited():
    begun, gate = threading.Event(), threading.Event()

    def waiting(item: int) -> int:
        begun.set()
        gate.wait(HANG_S)
        return item

    with pytest.raises(KeyboardInterrupt), Pipeline() as pipeline:
        pipeline.map_ordered(
            lambda item: item,
            pipeline.map_ordered(waiting, range(9), name="test", wait_on_interrupt=False),
            name="last",
        )
        assert begun.wait(HANG_S)
        raise KeyboardInterrupt
    left = [thread for thread in threading.enumerate() if thread.name.startswith("test")]
    assert len(left) == 1
    gate.set()
    left[0].join(HANG_S)
    assert not left[0].is_alive()


def test_a_drain_guard_waits_for_running_work_and_rejects_new_work():
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()
    guard = DrainGuard()

    def work():
        with guard.hold():
            begun.set()
            gate.wait(HANG_S)
            done.set()

    with pytest.raises(KeyboardInterrupt), guard:
        threading.Thread(target=work).start()
        assert begun.wait(HANG_S)
        threading.Timer(0.1, gate.set).start()
        raise KeyboardInterrupt
    assert done.is_set()
    with pytest.raises(Draining), guard.hold():
        pytest.fail("work started while draining")
