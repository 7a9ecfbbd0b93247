"""The totals of a run, for its summary and for `_SUCCESS`."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.log.records import STAGES

_BYTES = ("image_bytes", "sent_bytes", "received_bytes")


@dataclass(slots=True)
class Totals:
    """Integer sums over records. Bytes and microseconds are sums over the classified images only, as in the evaluation.
    `cuts` is the number of images for each "CUT CODEC"."""

    images: int = 0
    errors: int = 0
    labelled: int = 0
    correct: int = 0
    image_bytes: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    cuts: dict[str, int] = field(default_factory=dict)
    stages_us: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))

    def add(self, records: pa.Table) -> None:
        """Add the records of one shard."""
        label, prediction = (records[name].cast(pa.string()) for name in ("label", "prediction"))
        self.images += records.num_rows
        self.errors += records.num_rows - records["error"].null_count
        self.labelled += pc.sum(pc.and_(label.is_valid(), prediction.is_valid())).as_py() or 0
        self.correct += pc.sum(pc.equal(label, prediction)).as_py() or 0
        for cut, codec in zip(*(records[name].cast(pa.string()).to_pylist() for name in ("cut", "codec")), strict=True):
            key = f"{cut} {codec}"
            self.cuts[key] = self.cuts.get(key, 0) + 1
        classified = records.filter(prediction.is_valid())
        for name in _BYTES:
            setattr(self, name, getattr(self, name) + (pc.sum(classified[name]).as_py() or 0))
        for stage in STAGES:
            self.stages_us[stage] += pc.sum(classified[f"{stage}_us"]).as_py() or 0

    @property
    def accuracy(self) -> float | None:
        """The share of correct predictions among the classified images with a label; None without labels."""
        return self.correct / self.labelled if self.labelled else None

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON, the content of `_SUCCESS`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Totals":
        """The totals from a dictionary of `to_dict`; unknown keys are ignored."""
        return cls(**{f.name: stored[f.name] for f in fields(cls) if f.name in stored})
