"""The router of a run whose tail is unreachable at the start: everything runs locally until the tail responds.

Then the tail is measured and an adaptive router takes over. The measurement needs this machine for itself, so batches
wait for it: seconds if a profile of the tail is cached, up to 15 seconds if not, and longer if codecs are calibrated.
When the run is interrupted, the measurement is cancelled.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from hybrid_batch.data.errors import HybridBatchError, TailUnreachable
from hybrid_batch.inference.model.cuts import INPUT_CUT, TensorSpec
from hybrid_batch.inference.model.runtimes import Runtime, Segment
from hybrid_batch.inference.planner.adapt.prober import Probe
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.pipeline import Draining
from hybrid_batch.inference.runner.routing import Route, Router
from hybrid_batch.inference.runner.split import LocalSplit, Split
from hybrid_batch.inference.tails import Tail

_TICK_S = 0.2


class CancellableRuntime:
    """See Runtime. Once `cancelled` is set, compiling and every call raise Draining."""

    def __init__(self, runtime: Runtime, cancelled: threading.Event) -> None:
        self.name = runtime.name
        self._runtime, self._cancelled = runtime, cancelled

    def compile(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Segment:
        """See Runtime."""
        self._check()
        segment = self._runtime.compile(inputs, outputs)

        def call(tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
            self._check()
            return segment(tensors)

        return call

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise Draining


class DeferredRouter:
    """See Router. `make_router` measures the tail with the given runtime and returns the router that takes over.
    `notify` receives the reason, for the user, if none does."""

    def __init__(
        self,
        tail: Tail,
        runtime: Runtime,
        batch_size: int,
        make_router: Callable[[Runtime], Router],
        notify: Callable[[str], None],
    ) -> None:
        self._tail, self._local_route = tail, Route(LocalSplit(), batch_size)
        self._make_router, self._notify = make_router, notify
        self._stop = threading.Event()
        self._runtime = CancellableRuntime(runtime, self._stop)
        self._measuring = threading.Lock()  # held during the measurement
        self._router: Router | None = None  # once it has taken over
        self._images_left = 0

    @property
    def fixed_split(self) -> None:
        """See Router."""

    @property
    def reason(self) -> str | None:
        """See Router."""
        return self._router.reason if self._router else "the tail did not respond, so the whole run was local."

    def route(self) -> Route:
        """See Router."""
        return self._router.route() if self._router else self._local_route

    def admit(self, batch: Batch) -> Split:
        """See Router. Waits for the measurement."""
        with self._measuring:
            if self._router is not None:
                return self._router.admit(batch)
            self._images_left -= len(batch.images)
            return LocalSplit()

    def on_send(self, batch: Batch, frame_bytes: int) -> None:
        """See Router."""
        if self._router is not None:
            self._router.on_send(batch, frame_bytes)

    def on_response(self, batch: Batch) -> None:
        """See Router."""
        if self._router is not None:
            self._router.on_response(batch)

    def on_failure(self, batch: Batch, error: Exception) -> None:
        """See Router."""
        if self._router is not None:
            self._router.on_failure(batch, error)

    @contextmanager
    def session(self, images: int, compile_split: Callable[[Split], None]) -> Iterator[None]:
        """See Router."""
        self._images_left = images
        with ExitStack() as sessions:
            thread = threading.Thread(
                target=self._await_tail, args=(compile_split, sessions), name="await_tail", daemon=True
            )
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join()

    def _await_tail(self, compile_split: Callable[[Split], None], sessions: ExitStack) -> None:
        """Probe the tail until it responds and another router has taken over, or the run ends."""
        probe = Probe(self._tail)
        while self._router is None and not self._stop.wait(_TICK_S):
            try:
                if probe.is_back(INPUT_CUT):
                    self._hand_over(compile_split, sessions)
            except TailUnreachable:  # during the measurement
                probe = Probe(self._tail)
            except Draining:
                return
            except HybridBatchError as error:
                self._notify(f"{error} Running locally.")
                return

    def _hand_over(self, compile_split: Callable[[Split], None], sessions: ExitStack) -> None:
        """Measure the tail, and begin the session of the router that takes over."""
        with self._measuring:
            if self._images_left and not self._stop.is_set():
                router = self._make_router(self._runtime)
                sessions.enter_context(router.session(self._images_left, compile_split))
                self._router = router
