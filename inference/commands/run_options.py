"""What `hybrid-batch run` was told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of the command, whole."""

    images: str
    model: str
    split: str
    min_cut: str | None
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
    engine: str
    as_json: bool

    @property
    def follows(self) -> bool:
        """Whether cut and codec follow the link."""
        return self.split == "auto" and self.tail != "local"
