"""The options of `hybrid-batch run`."""

from dataclasses import dataclass

DEFAULT_LOG = "hybrid-batch-log"
DEFAULT_BATCH_SIZE = 32  # images
DEFAULT_SHARD_SIZE = 512  # images
MAX_SHARD_SIZE = 1 << 24  # the records of a part that readers accept
DEFAULT_MAX_PIXELS = 89  # megapixels of an image
DEFAULT_PATIENCE_S = 60.0  # a server restarts and loads a model within it


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `run`. `patience` is in seconds; `limit` is in images, None for all,
    `max_pixels` in megapixels."""

    images: tuple[str, ...]
    model: str
    split: str
    earliest_cut: str | None
    codec: str | None
    max_accuracy_drop: float | None
    tail: str
    spill: str | None
    token_file: str | None
    log: str
    labels: str
    batch_size: int
    shard_size: int
    in_flight: int
    run_id: str | None
    runtime: str
    limit: int | None = None
    patience: float = DEFAULT_PATIENCE_S
    overwrite: bool = False
    verify_images: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS

    @property
    def is_adaptive(self) -> bool:
        """Whether cut and codec adapt to the link."""
        return self.split == "auto" and self.tail != "local"
