"""A run that is interrupted during the measurement of a tail that started late."""

import signal
import threading
import time

import pytest

from hybrid_batch.data.images.images import find_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import compile_tail, open_runtime
from hybrid_batch.inference.model.runtimes.verify import synthetic_images
from hybrid_batch.inference.planner.adapt.deferred_router import CancellableRuntime, DeferredRouter
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.pipeline import Draining
from hybrid_batch.inference.runner.runner import RunSpec, run_shards
from hybrid_batch.inference.tails.http import open_http_tail
from tests.conftest import HANG_S, ROOT

IMAGES = ROOT / "data" / "digits" / "images"


def test_a_cancelled_runtime_compiles_and_computes_nothing_more():
    bundle, stop = resolve_model("digits"), threading.Event()
    runtime = CancellableRuntime(open_runtime("openvino", bundle), stop)
    whole, images = compile_tail(runtime, bundle, bundle.input_cut), [synthetic_images(bundle, 2)]
    assert whole(images)[0].shape == (2, 10)
    stop.set()
    with pytest.raises(Draining):
        whole(images)
    with pytest.raises(Draining):
        compile_tail(runtime, bundle, bundle.input_cut)


def test_an_interrupt_ends_the_measurement_and_the_run(tmp_path, digits_server):
    """The measurement does not end by itself, and a batch waits for it."""
    bundle = resolve_model("digits")
    runtime = open_runtime("openvino", bundle)
    measuring, ended = threading.Event(), threading.Event()

    def measure(cancellable):
        whole, images = compile_tail(cancellable, bundle, bundle.input_cut), [synthetic_images(bundle, 1)]
        end = time.monotonic() + HANG_S
        measuring.set()
        try:
            while time.monotonic() < end:
                whole(images)
        finally:
            ended.set()
        raise AssertionError("the measurement was not cancelled")

    class WaitingRouter(DeferredRouter):
        def admit(self, batch: Batch):
            measuring.wait(HANG_S)  # so that the run does not end before
            return super().admit(batch)

    def interrupt() -> None:
        assert measuring.wait(HANG_S)
        time.sleep(0.1)  # for a batch to wait
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    lines: list[str] = []
    folder = RunFolder(open_storage(str(tmp_path / "run=x")))
    interrupter = threading.Thread(target=interrupt)
    with open_http_tail(digits_server.url, bundle) as tail:
        router = WaitingRouter(tail, runtime, 1, measure, lines.append)
        spec = RunSpec(bundle, router, runtime, tail, "remote", find_images(str(IMAGES)), folder, 40)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            run_shards(spec, lambda _: None)
    interrupter.join()
    assert ended.is_set()
    assert lines == []
    assert not [thread for thread in threading.enumerate() if thread.name == "await_tail"]
