"""A run that is left while it is measured for a tail that came late."""

import os
import signal
import threading
import time

import pytest

from hybrid_batch.data.images.images import find_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import compile_tail, open_engine
from hybrid_batch.inference.model.runtimes.verify import sample_images
from hybrid_batch.inference.planner.adapt.cancellable_runtime import Stoppable
from hybrid_batch.inference.planner.adapt.deferred_router import Joining
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.drain import TooLate
from hybrid_batch.inference.runner.runner import Job, Pace, run_shards
from hybrid_batch.inference.runner.split import HERE
from hybrid_batch.inference.tails.http import http_tail
from tests.conftest import HANG_S, ROOT

IMAGES = ROOT / "data" / "digits" / "images"


def test_a_stopped_engine_compiles_and_computes_nothing_more():
    bundle, stop = open_model("digits"), threading.Event()
    engine = Stoppable(open_engine("openvino", bundle), stop)
    whole, images = compile_tail(engine, bundle, bundle.whole), [sample_images(bundle, 2)]
    assert whole(images)[0].shape == (2, 10)
    stop.set()
    with pytest.raises(TooLate):
        whole(images)
    with pytest.raises(TooLate):
        compile_tail(engine, bundle, bundle.whole)


def test_an_interrupt_ends_the_measuring_and_the_run(tmp_path, digits_server):
    """Without end is how long measuring takes here; a batch waits for it at its head meanwhile."""
    bundle = open_model("digits")
    engine = open_engine("openvino", bundle)
    measuring, ended = threading.Event(), threading.Event()

    def measure(stoppable):
        whole, images = compile_tail(stoppable, bundle, bundle.whole), [sample_images(bundle, 1)]
        end = time.monotonic() + HANG_S
        measuring.set()
        try:
            while time.monotonic() < end:
                whole(images)
        finally:
            ended.set()
        raise AssertionError("nobody stopped it")

    class Paced(Joining):
        def admit(self, batch: Batch):
            measuring.wait(HANG_S)  # so that the run is not over before
            return super().admit(batch)

    def interrupt() -> None:
        assert measuring.wait(HANG_S)
        time.sleep(0.1)  # for a batch to come
        os.kill(os.getpid(), signal.SIGINT)

    said: list[str] = []
    folder = RunFolder(open_storage(str(tmp_path / "run=x")))
    interrupter = threading.Thread(target=interrupt)
    with http_tail(digits_server.url, bundle) as tail:
        joining = Paced(tail, engine, 1, measure, said.append)
        job = Job(bundle, HERE, engine, tail, "there", find_images(str(IMAGES)), folder, 40, Pace(1), joining)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            run_shards(job, lambda _: None)
    interrupter.join()
    assert ended.is_set()
    assert said == []
    assert not [thread for thread in threading.enumerate() if thread.name == "join"]
