"""What the runner asks of whoever decides, batch by batch, where the work is done."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.split import Split


@dataclass(frozen=True, slots=True)
class Route:
    """How batches go: divided in this way, of at most so many images."""

    split: Split
    batch_size: int


class Follow(Protocol):
    """Threads may ask at once."""

    def route(self) -> Route:
        """For the next batch."""
        ...

    def admit(self, batch: Batch) -> Split:
        """At its head: the batch's own split, or all here when the tail has enough to do or is away."""
        ...

    def sending(self, batch: Batch) -> None:
        """The batch's frame is about to leave."""
        ...

    def answered(self, batch: Batch) -> None:
        """The batch's scores are in hand, with its times, from the tail or from here."""
        ...

    def lost(self, batch: Batch, error: Exception) -> None:
        """No answer for this batch; it is finished here."""
        ...

    def running(self, images: int, ready: Callable[[Split], None]) -> AbstractContextManager[object]:
        """Follow while so many images are run; `ready` compiles what a split needs here, and raises TooLate when the
        run is over."""
        ...
