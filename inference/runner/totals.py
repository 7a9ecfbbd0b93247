"""The totals of a run, for its summary and for `_SUCCESS`."""

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.log.records import STAGES, WAITS
from hybrid_batch.data.log.runs import RunFolder

_BYTES = ("image_bytes", "cut_bytes", "sent_bytes", "received_bytes")
_READERS = 8  # parts that are read at once
_REASONS = 20  # kept, because a message may contain a number that differs from file to file
OTHER_REASONS = "other reasons"


@dataclass(slots=True)
class Totals:
    """Integer sums over records. Bytes and microseconds are sums over the classified images only, as in the evaluation.
    `cuts` is the number of images for each "CUT CODEC", `tails` for each tail, `error_reasons` for each error.
    `waits_us` is empty when the log does not have the waiting times of every image. `active_us` holds the start and end
    of each period in which the run classified images, in µs since 1970, in order. `reason` is why the split was chosen,
    None if the user chose it; `events` are failures of the tail and changes of the split in the last command of the
    run."""

    images: int = 0
    errors: int = 0
    labelled: int = 0
    correct: int = 0
    image_bytes: int = 0
    cut_bytes: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    cuts: dict[str, int] = field(default_factory=dict)
    tails: dict[str, int] = field(default_factory=dict)
    stages_us: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    waits_us: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAITS, 0))
    error_reasons: dict[str, int] = field(default_factory=dict)
    active_us: list[list[int]] = field(default_factory=list)
    reason: str | None = None
    events: list[str] = field(default_factory=list)

    def add(self, records: pa.Table | pa.RecordBatch) -> None:
        """Add records of one shard."""
        label, prediction = (records[name].cast(pa.string()) for name in ("label", "prediction"))
        self.images += records.num_rows
        self.errors += records.num_rows - records["error"].null_count
        self.labelled += pc.sum(pc.and_(label.is_valid(), prediction.is_valid())).as_py() or 0
        self.correct += pc.sum(pc.equal(label, prediction)).as_py() or 0
        cuts, codecs, tails = (records[name].cast(pa.string()).to_pylist() for name in ("cut", "codec", "tail"))
        self.cuts = _sum(self.cuts, Counter(map("{} {}".format, cuts, codecs)))
        self.tails = _sum(self.tails, Counter(map(str, tails)))
        self._add_reasons(Counter(records["error"].drop_null().to_pylist()))
        classified = records.filter(prediction.is_valid())
        self.active_us = _merged([*self.active_us, *_period_us(classified)])
        for name in _BYTES:
            setattr(self, name, getattr(self, name) + (pc.sum(classified[name]).as_py() or 0))
        for stage in STAGES:
            self.stages_us[stage] += pc.sum(classified[f"{stage}_us"]).as_py() or 0
        if any(classified[f"{wait}_us"].null_count for wait in WAITS):
            self.waits_us = {}
        for wait in self.waits_us:
            self.waits_us[wait] += pc.sum(classified[f"{wait}_us"]).as_py() or 0

    def add_shard(self, shard: "Totals") -> None:
        """Add the totals of another shard."""
        for name in ("images", "errors", "labelled", "correct", *_BYTES):
            setattr(self, name, getattr(self, name) + getattr(shard, name))
        self.cuts, self.tails = _sum(self.cuts, Counter(shard.cuts)), _sum(self.tails, Counter(shard.tails))
        self._add_reasons(shard.error_reasons)
        self.active_us = _merged([*self.active_us, *shard.active_us])
        self.stages_us = {stage: time + shard.stages_us[stage] for stage, time in self.stages_us.items()}
        self.waits_us = {wait: time + shard.waits_us[wait] for wait, time in self.waits_us.items() if shard.waits_us}

    def _add_reasons(self, counts: Mapping[str, int]) -> None:
        for reason, count in counts.items():
            known = reason in self.error_reasons or len(self.error_reasons) < _REASONS
            key = reason if known else OTHER_REASONS
            self.error_reasons[key] = self.error_reasons.get(key, 0) + count

    @property
    def accuracy(self) -> float | None:
        """The share of correct predictions among the classified images with a label; None without labels."""
        return self.correct / self.labelled if self.labelled else None

    @property
    def active_s(self) -> float:
        """The seconds in which the run classified images; the pauses between an interruption and its continuation are
        left out. The `active_s` of the evaluation's throughput is the same."""
        return sum(end - start for start, end in self.active_us) / 1e6

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON, the content of `_SUCCESS`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Totals":
        """The totals from a dictionary of `to_dict`; unknown keys are ignored."""
        return cls(**{f.name: stored[f.name] for f in fields(cls) if f.name in stored})

    @classmethod
    def of_run(cls, folder: RunFolder) -> "Totals":
        """The totals of a run that has all parts, from `_SUCCESS`, or from the records where that is missing, or lacks
        some of them as that of an earlier version. Raises NotARun and StorageFailed."""
        stored = folder.totals() or {}
        if all(f.name in stored for f in fields(cls)):
            return cls.from_dict(stored)
        return cls.of_shards(folder, folder.parts())

    @classmethod
    def of_shards(cls, folder: RunFolder, shards: Iterable[int]) -> "Totals":
        """The totals of these shards, read by several threads: on S3 a read is mostly waiting. Raises NotARun and
        StorageFailed."""

        def of_shard(shard: int) -> Totals:
            totals = cls()
            for records in folder.read_batches(shard):
                totals.add(records)
            if totals.active_us:  # a shard is one period, also where it is read in several batches
                totals.active_us = [[totals.active_us[0][0], totals.active_us[-1][1]]]
            return totals

        totals = cls()
        with ThreadPoolExecutor(_READERS, thread_name_prefix="totals") as pool:
            try:
                for shard in pool.map(of_shard, shards):
                    totals.add_shard(shard)
            finally:
                pool.shutdown(cancel_futures=True)
        return totals


def _sum(counts: dict[str, int], more: Counter[str]) -> dict[str, int]:
    return dict(Counter(counts) + more)


def _period_us(records: pa.Table) -> list[list[int]]:
    """From the start of the first image to the end of the last, in µs since 1970; empty without images."""
    if not records.num_rows:
        return []
    starts = records["started_at"].cast(pa.int64())
    return [[pc.min(starts).as_py(), pc.max(pc.add(starts, records["latency_us"])).as_py()]]


def _merged(periods: list[list[int]]) -> list[list[int]]:
    """The periods in order; those that overlap become one, as those of consecutive shards do."""
    merged: list[list[int]] = []
    for start, end in sorted(periods):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged
