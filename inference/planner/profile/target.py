"""What is profiled: a bundle on an engine here, with a tail or without."""

from dataclasses import dataclass

from hybrid_batch.data.images.images import Images
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Engine
from hybrid_batch.inference.tails import Tail


@dataclass(frozen=True, slots=True)
class Subject:
    """What is profiled. `tail` None: this machine alone. `batch_size` is the largest to measure."""

    bundle: Bundle
    engine: Engine
    tail: Tail | None
    address: str
    batch_size: int
    images: Images | None = None

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes in use."""
        return tuple(sorted({1, min(8, self.batch_size), self.batch_size}))
