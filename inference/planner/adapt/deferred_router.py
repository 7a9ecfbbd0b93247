"""A run whose tail is away at the start: all is done here until the tail first answers, then it is followed.

What is measured for that wants this machine to itself, so batches wait meanwhile: seconds for a tail that was measured
before, up to a quarter of a minute for a new one, longer where codecs are calibrated. A run that is left meanwhile does
not wait for the rest of it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from hybrid_batch.data.errors import HybridBatchError, TailUnreachable
from hybrid_batch.inference.model.cuts import WHOLE
from hybrid_batch.inference.model.runtimes import Engine
from hybrid_batch.inference.planner.adapt.cancellable_runtime import Stoppable
from hybrid_batch.inference.planner.adapt.probe import Probe
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.drain import TooLate
from hybrid_batch.inference.runner.routing import Follow, Route
from hybrid_batch.inference.runner.split import HERE, Split
from hybrid_batch.inference.tails import Tail

_TICK_S = 0.2


class Joining:
    """See Follow. `follow` measures with the engine it is given, plans, and makes who follows from then on; `say` is
    told why nobody will."""

    def __init__(
        self,
        tail: Tail,
        engine: Engine,
        batch_size: int,
        follow: Callable[[Engine], Follow],
        say: Callable[[str], None],
    ) -> None:
        self._tail, self._here, self._follow, self._say = tail, Route(HERE, batch_size), follow, say
        self._stop = threading.Event()
        self._engine = Stoppable(engine, self._stop)
        self._undisturbed = threading.Lock()  # held while it is measured
        self._joined: Follow | None = None
        self._left = 0

    def route(self) -> Route:
        """See Follow."""
        return self._joined.route() if self._joined else self._here

    def admit(self, batch: Batch) -> Split:
        """See Follow."""
        with self._undisturbed:
            if self._joined is not None:
                return self._joined.admit(batch)
            self._left -= len(batch.images)
            return HERE

    def sending(self, batch: Batch) -> None:
        """See Follow."""
        if self._joined is not None:
            self._joined.sending(batch)

    def answered(self, batch: Batch) -> None:
        """See Follow."""
        if self._joined is not None:
            self._joined.answered(batch)

    def lost(self, batch: Batch, error: Exception) -> None:
        """See Follow."""
        if self._joined is not None:
            self._joined.lost(batch, error)

    @contextmanager
    def running(self, images: int, ready: Callable[[Split], None]) -> Iterator[None]:
        """See Follow."""
        self._left = images
        with ExitStack() as joined:
            joiner = threading.Thread(target=self._await, args=(ready, joined), name="join", daemon=True)
            joiner.start()
            try:
                yield
            finally:
                self._stop.set()
                joiner.join()

    def _await(self, ready: Callable[[Split], None], joined: ExitStack) -> None:
        probe = Probe(self._tail)
        while self._joined is None and not self._stop.wait(_TICK_S):
            try:
                if probe.finds(WHOLE):
                    self._join(ready, joined)
            except TailUnreachable:  # it went away again
                probe = Probe(self._tail)
            except TooLate:
                return
            except HybridBatchError as error:
                self._say(f"{error} Going on here.")
                return

    def _join(self, ready: Callable[[Split], None], joined: ExitStack) -> None:
        with self._undisturbed:
            if self._left and not self._stop.is_set():
                follow = self._follow(self._engine)
                joined.enter_context(follow.running(self._left, ready))
                self._joined = follow
