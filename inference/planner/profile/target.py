"""The target of a profile: a bundle on this machine's runtime, with or without a tail."""

from dataclasses import dataclass

from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime
from hybrid_batch.inference.tails import Tail


@dataclass(frozen=True, slots=True)
class ProfileTarget:
    """`tail` is None for this machine alone; `address` names the tail. `batch_size` is the largest to measure.
    `images` are sampled for the measurement; None uses a synthetic image."""

    bundle: Bundle
    runtime: Runtime
    tail: Tail | None
    address: str
    batch_size: int
    images: ImageSet | None = None

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes to measure, in ascending order: 1, 8 and the largest."""
        return tuple(sorted({1, min(8, self.batch_size), self.batch_size}))
