"""Dynamic batching of pending requests."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from hybrid_batch.inference.serving.executor import TailExecutor
from hybrid_batch.inference.serving.http.dynamic_batcher import DynamicBatcher
from tests.conftest import HANG_S


class BlockingRuntime:
    """The real runtime, whose calls wait for `unblock`; it keeps their batch sizes."""

    name = "blocking"

    def __init__(self, runtime):
        self._runtime = runtime
        self.unblock = threading.Event()
        self.started = threading.Event()
        self.batches = []

    def compile(self, inputs, outputs):
        segment = self._runtime.compile(inputs, outputs)

        def call(tensors):
            self.batches.append(len(tensors[0]))
            self.started.set()
            assert self.unblock.wait(HANG_S)
            return segment(tensors)

        return call


@pytest.fixture
def blocking(runtime):
    return BlockingRuntime(runtime)


def compute_all(batcher, blocking, first, others):
    """Futures of the results of requests, (cut, tensors) each. `first` occupies the runtime while `others` arrive."""
    done = [Future() for _ in (first, *others)]
    leader = threading.Thread(target=batcher.compute, args=(*first, done[0]))
    leader.start()
    assert blocking.started.wait(HANG_S)
    for other, future in zip(others, done[1:], strict=True):
        batcher.compute(*other, future)  # returns at once
    assert not any(future.done() for future in done)
    blocking.unblock.set()
    leader.join(HANG_S)
    return done


def test_requests_for_one_cut_share_a_call_and_get_the_same_bits(bundle, runtime, blocking, heads, pixels):
    early, late = bundle.cut("c004"), bundle.cut("c006")
    boundary = {cut.id: heads(cut.id)([pixels])[0] for cut in (early, late)}
    slices = [(early, 0, 1), (early, 1, 4), (late, 0, 2), (early, 4, 9), (late, 2, 3), (early, 9, 10)]
    requests = [(cut, [boundary[cut.id][start:end]]) for cut, start, end in slices]
    batcher = DynamicBatcher(TailExecutor(bundle, blocking), max_batch=8)
    computed = compute_all(batcher, blocking, requests[0], requests[1:])
    # The first alone; 3 and 5 of its cut, but not the 1 after them; 2 and 1 of the other cut; the remaining 1.
    assert blocking.batches == [1, 8, 3, 1]
    alone = TailExecutor(bundle, runtime)
    for (cut, tensors), result in zip(requests, computed, strict=True):
        np.testing.assert_array_equal(result.result(0).scores, alone.run(cut, tensors))


def test_a_request_larger_than_a_batch_is_computed_alone(bundle, blocking, pixels):
    batcher = DynamicBatcher(TailExecutor(bundle, blocking), max_batch=4)
    requests = [(bundle.input_cut, [pixels[:count]]) for count in (1, 9, 2)]
    compute_all(batcher, blocking, requests[0], requests[1:])
    assert blocking.batches == [1, 9, 2]


def test_an_error_of_the_runtime_reaches_only_the_requests_of_its_call(bundle, blocking, pixels):
    batcher = DynamicBatcher(TailExecutor(bundle, blocking), max_batch=4)
    wrong = np.zeros((1, 3, 3, 3), np.float32)
    requests = [(bundle.input_cut, [pixels[:1]]), (bundle.cut("c004"), [wrong]), (bundle.input_cut, [pixels[:2]])]
    first, failed, last = compute_all(batcher, blocking, requests[0], requests[1:])
    assert isinstance(failed.exception(0), RuntimeError)
    assert len(first.result(0).scores) == 1
    assert len(last.result(0).scores) == 2


def test_the_runtime_is_free_after_the_queue_is_empty(bundle, blocking, pixels):
    batcher = DynamicBatcher(TailExecutor(bundle, blocking), max_batch=4)
    compute_all(batcher, blocking, (bundle.input_cut, [pixels[:1]]), [(bundle.input_cut, [pixels[:2]])])
    late = Future()
    batcher.compute(bundle.input_cut, [pixels[:3]], late)
    assert len(late.result(0).scores) == 3
    assert blocking.batches == [1, 2, 3]
