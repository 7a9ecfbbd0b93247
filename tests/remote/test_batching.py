import threading
from concurrent.futures import Future

import numpy as np
import pytest

from hybrid_batch.inference.serving.executor import TailWorker
from hybrid_batch.inference.serving.http.admission import Busy, Closing, Room
from hybrid_batch.inference.serving.http.dynamic_batcher import Batcher
from tests.conftest import HANG_S


class SlowEngine:
    """The real engine, whose first call waits until it is let go; it keeps the batch sizes of its calls."""

    name = "slow"

    def __init__(self, engine):
        self._engine = engine
        self.go = threading.Event()
        self.started = threading.Event()
        self.batches = []

    def compile(self, inputs, outputs):
        segment = self._engine.compile(inputs, outputs)

        def call(tensors):
            self.batches.append(len(tensors[0]))
            self.started.set()
            assert self.go.wait(HANG_S)
            return segment(tensors)

        return call


@pytest.fixture
def slow(engine):
    return SlowEngine(engine)


def together(batcher, slow, first, others):
    """Futures of what `others`, (cut, tensors) each, are computed to, all of them asked for while `first` holds the
    engine; and of that."""
    done = [Future() for _ in (first, *others)]
    leader = threading.Thread(target=batcher.compute, args=(*first, done[0]))
    leader.start()
    assert slow.started.wait(HANG_S)
    for other, future in zip(others, done[1:], strict=True):
        batcher.compute(*other, future)  # returns at once
    assert not any(future.done() for future in done)
    slow.go.set()
    leader.join(HANG_S)
    return done


def test_what_waits_for_one_cut_is_computed_in_one_call_with_the_same_bits(bundle, engine, slow, heads, pixels):
    early, late = bundle.cut("c004"), bundle.cut("c006")
    boundary = {cut.id: heads(cut.id)([pixels])[0] for cut in (early, late)}
    asked = [(early, 0, 1), (early, 1, 4), (late, 0, 2), (early, 4, 9), (late, 2, 3), (early, 9, 10)]
    requests = [(cut, [boundary[cut.id][start:end]]) for cut, start, end in asked]
    batcher = Batcher(TailWorker(bundle, slow), max_batch=8)
    computed = together(batcher, slow, requests[0], requests[1:])
    # The first alone; 3 and 5 of its cut, but not the 1 after them; 2 and 1 of the other cut; the 1 left over.
    assert slow.batches == [1, 8, 3, 1]
    alone = TailWorker(bundle, engine)
    for (cut, tensors), result in zip(requests, computed, strict=True):
        np.testing.assert_array_equal(result.result(0).scores, alone.run(cut, tensors))


def test_a_request_larger_than_a_batch_is_computed_alone(bundle, slow, pixels):
    batcher = Batcher(TailWorker(bundle, slow), max_batch=4)
    requests = [(bundle.whole, [pixels[:count]]) for count in (1, 9, 2)]
    together(batcher, slow, requests[0], requests[1:])
    assert slow.batches == [1, 9, 2]


def test_what_the_engine_raises_reaches_the_requests_of_that_call_alone(bundle, slow, pixels):
    batcher = Batcher(TailWorker(bundle, slow), max_batch=4)
    wrong = np.zeros((1, 3, 3, 3), np.float32)
    requests = [(bundle.whole, [pixels[:1]]), (bundle.cut("c004"), [wrong]), (bundle.whole, [pixels[:2]])]
    first, failed, last = together(batcher, slow, requests[0], requests[1:])
    assert isinstance(failed.exception(0), RuntimeError)
    assert len(first.result(0).scores) == 1
    assert len(last.result(0).scores) == 2


def test_who_computed_for_others_leaves_the_engine_free(bundle, slow, pixels):
    batcher = Batcher(TailWorker(bundle, slow), max_batch=4)
    together(batcher, slow, (bundle.whole, [pixels[:1]]), [(bundle.whole, [pixels[:2]])])
    late = Future()
    batcher.compute(bundle.whole, [pixels[:3]], late)
    assert len(late.result(0).scores) == 3
    assert slow.batches == [1, 2, 3]


def test_a_room_counts_requests_and_the_bytes_they_hold():
    room = Room(requests=2, held_bytes=100)
    with room.enter() as first:
        first.hold(400)  # alone inside, anything goes
        first.hold(1)
        with room.enter() as second:
            with pytest.raises(Busy, match="401 bytes"):
                second.hold(1)
            with pytest.raises(Busy, match="2 requests"), room.enter():
                pass
    with room.enter() as first, room.enter() as second:
        first.hold(60)
        second.hold(40)
        with pytest.raises(Busy):
            second.hold(1)
    room.closing = True
    with pytest.raises(Closing), room.enter():
        pass
