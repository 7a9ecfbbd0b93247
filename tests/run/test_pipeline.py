import threading
import time
from collections.abc import Iterator

import pytest

from hybrid_batch.inference.runner.pipeline import Pipeline
from tests.conftest import HANG_S


@pytest.fixture
def overlap():
    with Pipeline() as pipeline:
        yield pipeline.overlap
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test")]


def test_results_come_in_order_whatever_finishes_first(overlap):
    gates = [threading.Event() for _ in range(3)]

    def stage(item: int) -> int:
        if item == 0:
            gates[2].wait(HANG_S)
        gates[item].set()
        return item * 10

    assert list(overlap(stage, range(3), name="test", workers=3)) == [0, 10, 20]


def test_no_more_is_taken_than_workers_and_what_waits(overlap):
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    results = overlap(lambda item: item, items(), name="test", workers=2, ahead=3)
    for used in range(1, 10):
        next(results)
        assert taken <= used + 2 + 3
    assert taken < 20


def test_one_slow_item_holds_up_no_other_until_so_many_are_held(overlap):
    gate, done = threading.Event(), threading.Event()

    def stage(item: int) -> int:
        if item == 0:
            gate.wait(HANG_S)
        if item == 7:
            done.set()
        return item

    results = overlap(stage, range(20), name="test", workers=2, held=6)
    first = threading.Thread(target=lambda: seen.append(next(results)))
    seen: list[int] = []
    first.start()
    assert done.wait(HANG_S)  # 2 workers, 1 ahead and 6 held are 9 items
    assert seen == []
    gate.set()
    first.join()
    assert [*seen, *results] == list(range(20))


def test_stages_work_while_the_caller_does(overlap):
    both = threading.Barrier(2, timeout=HANG_S)

    def stage(item: int) -> int:
        if item == 1:
            both.wait()
        return item

    results = overlap(stage, range(3), name="test")
    assert next(results) == 0
    both.wait()  # would break if item 1 only began when asked for
    assert list(results) == [1, 2]


@pytest.mark.parametrize("where", ["stage", "items"])
def test_what_is_raised_reaches_the_caller_and_nothing_more_starts(where: str, overlap):
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
        list(overlap(stage, items(), name="test"))
    time.sleep(0.05)
    assert len(started) <= 2


def test_no_result_waits_for_the_next(overlap):
    """One at a time comes through all stages before there is another."""
    arrived: list[int] = []
    turns = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for item in range(3):
            assert turns[item].wait(HANG_S)
            yield item

    results = overlap(lambda item: item + 1, overlap(lambda item: item * 10, items(), name="test"), name="test")
    for item in range(3):
        turns[item].set()
        arrived.append(next(results))
    assert arrived == [1, 11, 21]


def test_whoever_leaves_stops_all_stages_and_waits_for_what_they_do():
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()

    def slow(item: int) -> int:
        begun.set()
        gate.wait(HANG_S)
        done.set()
        return item

    with pytest.raises(KeyboardInterrupt), Pipeline() as pipeline:
        pipeline.overlap(lambda item: item, pipeline.overlap(slow, range(9), name="test"), name="test")
        assert begun.wait(HANG_S)
        threading.Timer(0.1, gate.set).start()
        raise KeyboardInterrupt
    assert done.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test")]


def test_an_interrupt_while_threads_are_started_is_raised_and_nothing_else(monkeypatch):
    """Those that never ran cannot be waited for."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == "test_1":
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), Pipeline() as pipeline:
        pipeline.overlap(lambda item: item, range(9), name="test", workers=3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test")]


def test_an_interrupt_gives_a_stage_that_waits_for_others_a_moment_to_end(monkeypatch):
    monkeypatch.setattr("hybrid_batch.inference.runner.pipeline._GRACE_S", HANG_S)
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()

    def computing(item: int) -> int:
        begun.set()
        gate.wait(HANG_S)
        done.set()
        return item

    with pytest.raises(KeyboardInterrupt), Pipeline() as pipeline:
        pipeline.overlap(computing, range(9), name="test", patient=False)
        assert begun.wait(HANG_S)
        threading.Timer(0.1, gate.set).start()
        raise KeyboardInterrupt
    assert done.is_set()


def test_an_interrupt_does_not_wait_for_a_stage_that_waits_for_others():
    begun, gate = threading.Event(), threading.Event()

    def waiting(item: int) -> int:
        begun.set()
        gate.wait(HANG_S)
        return item

    with pytest.raises(KeyboardInterrupt), Pipeline() as pipeline:
        pipeline.overlap(
            lambda item: item, pipeline.overlap(waiting, range(9), name="test", patient=False), name="last"
        )
        assert begun.wait(HANG_S)
        raise KeyboardInterrupt
    left = [thread for thread in threading.enumerate() if thread.name.startswith("test")]
    assert len(left) == 1
    gate.set()
    left[0].join(HANG_S)
    assert not left[0].is_alive()
