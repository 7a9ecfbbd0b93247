"""The map step of every evaluation: batches of records in, counts out. It takes nearly all of a job's time.

A record costs about fifty additions into arrays, 60 ns; reading it from a file costs 120 ns.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.log.records import STAGES, WAITS
from hybrid_batch.evaluation.counting import columns
from hybrid_batch.evaluation.counting.columns import NotRecords
from hybrid_batch.evaluation.counting.confident_errors import ConfidentErrors, sortable_bits
from hybrid_batch.evaluation.counting.counters.calibration_counter import CalibrationCounter
from hybrid_batch.evaluation.counting.counters.confidence_counter import ConfidenceCounter
from hybrid_batch.evaluation.counting.counters.group_counter import BatchColumns, GroupCounter
from hybrid_batch.evaluation.counting.counters.throughput_counter import NO_SHARD, SpanCounter, ThroughputCounter
from hybrid_batch.evaluation.counting.counts import (
    BYTE_COLUMNS,
    MAX_CLASSES,
    MAX_LETTERS,
    MAX_PERIODS,
    MAX_RUNS,
    MAX_VALUES,
    OVERALL,
    RUN_COLUMNS,
    TALLIES,
    Counts,
    build_counts,
    merge_counts,
)
from hybrid_batch.evaluation.counting.encoding.combinations import Combinations
from hybrid_batch.evaluation.counting.encoding.fixed_point import Integers
from hybrid_batch.evaluation.counting.encoding.latency_buckets import to_buckets
from hybrid_batch.evaluation.counting.encoding.sparse_histogram import SparseHistogram2D
from hybrid_batch.evaluation.counting.encoding.vocabulary import NULL, Vocabulary
from hybrid_batch.evaluation.counting.failures import FirstFailures
from hybrid_batch.evaluation.report_schema import DEFAULT_SLICES

_SPLIT_COLUMNS = ("cut", "codec", "tail")
_NUMBERS = (*BYTE_COLUMNS, *columns.TIME_COLUMNS)

Mask = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


class RecordCounter:
    """The counts of the records added so far, sliced by `DEFAULT_SLICES` and by the columns `by`."""

    def __init__(self, by: Sequence[str] = ()) -> None:
        self.started_batches = 0  # batches for which `add` was called
        self._by = tuple(name for name in dict.fromkeys(by) if name not in DEFAULT_SLICES)
        self._classes = Vocabulary()
        self._vocabularies = {name: Vocabulary() for name in ("folder", *self._by)}
        self._run_vocabularies = {name: Vocabulary() for name in RUN_COLUMNS}
        self._runs = Combinations()  # of which there are few, hence counted as one group
        self._by_run = GroupCounter((*STAGES[:-1], *WAITS, STAGES[-1]))
        self._run_starts = SpanCounter()
        self._groups = {name: GroupCounter(("latency",)) for name in ("label", "prediction", "folder", *self._by)}
        self._overflows: list[str] = []
        self._confusion = SparseHistogram2D()
        self._calibration = CalibrationCounter()
        self._confidence = ConfidenceCounter()
        self._throughput = ThroughputCounter()
        self._failures = FirstFailures()
        self._confident_errors = ConfidentErrors()

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of records. Raises NotRecords; the counter cannot be used afterwards."""
        self.started_batches += 1
        batch = columns.current_records(batch, self._by)
        codes = self._codes(batch)
        in_top5, has_top5 = self._top5(batch, codes["label"])
        self._check_sizes()
        failed = np.asarray(pc.is_valid(batch.column("error"))) | (codes["prediction"] == NULL)
        if failed.any():
            self._by_run.add_errors(codes["run"][failed])
            for name, group in self._groups.items():
                group.add_errors(codes[name][failed])
            self._failures.add(*(batch.column(name).filter(pa.array(failed)) for name in ("image", "error")))
            kept = ~failed
            codes = {name: code[kept] for name, code in codes.items()}
            in_top5, has_top5 = in_top5[kept], has_top5[kept]
            self._add_classified(batch, kept, codes, in_top5, has_top5)
        elif batch.num_rows:
            self._add_classified(batch, None, codes, in_top5, has_top5)
        self._check_sizes()

    def counts(self) -> Counts:
        """The counts of all records added, not merged: keys may repeat. More records may be added afterwards."""
        runs = dict(zip(RUN_COLUMNS, self._runs.codes(len(RUN_COLUMNS)).T, strict=True))
        parts = [self._by_run.counts(OVERALL, Vocabulary(), np.zeros(len(runs["cut"]), np.int64))]
        parts += [self._by_run.counts(name, self._run_vocabularies[name], runs[name]) for name in _SPLIT_COLUMNS]
        for name, group in self._groups.items():
            vocabulary = self._vocabularies.get(name, self._classes)
            parts.append(group.counts(name, vocabulary, np.arange(len(vocabulary))))
        labels, predictions, records = self._confusion.items()
        return build_counts(
            **{name: TALLIES[name].concat(part.pop(name) for part in parts) for name in list(parts[0])},
            confusion={
                "label": self._classes.decode(labels),
                "prediction": self._classes.decode(predictions),
                "records": records,
            },
            **self._calibration.columns(),
            confidence=self._confidence.columns(),
            runs={name: self._run_vocabularies[name].decode(codes) for name, codes in runs.items()}
            | self._by_run.totals(len(runs["cut"]))
            | self._run_starts.columns(len(runs["cut"])),
            failures=self._failures.table(),
            periods=self._periods(),
            exemplars=self._confident_errors.table(),
            overflows={"by": self._overflows, "shares": [1] * len(self._overflows)},
        )

    def _check_sizes(self) -> None:
        """Raises NotRecords for more distinct values than counts may hold: the records of a stranger can all differ."""
        vocabularies = (self._classes, *self._vocabularies.values(), *self._run_vocabularies.values())
        for value, limit, name in (
            (len(self._classes) - 1, MAX_CLASSES, "classes"),
            (sum(vocabulary.letters for vocabulary in vocabularies), MAX_LETTERS, "letters of names"),
            (len(self._runs), MAX_RUNS, "runs, cuts and tails"),
            (len(self._throughput), MAX_PERIODS, "shards and minutes"),
        ):
            if value > limit:
                raise NotRecords(f"with it, the records have {value:,} {name}, more than {limit:,}")

    def _periods(self) -> dict[str, object]:
        periods = self._throughput.columns()
        return {**periods, "run_id": self._run_vocabularies["run_id"].decode(periods["run_id"])}

    def _codes(self, batch: pa.RecordBatch) -> dict[str, Integers]:
        """By column, the code of each record's value; `run` is the code of all `RUN_COLUMNS` together."""
        codes = {name: self._classes.encode(batch.column(name)) for name in ("label", "prediction")}
        for name in [name for name in self._groups if name in self._vocabularies]:
            values = columns.folders(columns.typed_column(batch, "image")) if name == "folder" else batch.column(name)
            codes[name] = self._vocabularies[name].encode(values)
            if len(self._vocabularies[name]) - 1 > MAX_VALUES:
                del self._groups[name]
                self._overflows.append(name)
        of_run = [vocabulary.encode(batch.column(name)) for name, vocabulary in self._run_vocabularies.items()]
        codes["run_id"] = of_run[RUN_COLUMNS.index("run_id")]
        codes["run"] = self._runs.encode(of_run, [len(vocabulary) for vocabulary in self._run_vocabularies.values()])
        return codes

    def _top5(self, batch: pa.RecordBatch, label: Integers) -> tuple[Integers, Mask]:
        """For each record: 1 where the label is in the top 5, and whether the record has a top 5."""
        lengths, labels = columns.top5_labels(batch)
        candidates = self._classes.encode(labels)
        has_top5 = np.asarray(pc.is_valid(lengths))
        longest = pc.max(lengths).as_py() or 0
        if len(candidates) == len(label) * longest:
            table = candidates.reshape(len(label), longest)
            hit = np.zeros(len(label), bool)
            for place in range(longest):
                hit |= table[:, place] == label
        else:
            rows = np.repeat(np.arange(len(label)), pc.fill_null(lengths, 0).to_numpy())
            hit = np.bincount(rows[candidates == label[rows]], minlength=len(label)) > 0
        return (hit & (label != NULL)).astype(np.int64), has_top5

    def _add_classified(
        self, batch: pa.RecordBatch, kept: Mask | None, codes: dict[str, Integers], in_top5: Integers, has_top5: Mask
    ) -> None:
        """Count the records of the batch in the mask `kept`, or all; the arrays have one row for each of them."""
        label, prediction = codes["label"], codes["prediction"]
        labelled = label != NULL
        correct = label == prediction
        numbers = {name: _required(columns.typed_column(batch, name), name, kept) for name in _NUMBERS}
        times_us = {stage: numbers[f"{stage}_us"] for stage in STAGES}
        rows: dict[str, Integers] = {}
        for wait in WAITS:  # which version 1 of the schema does not have
            column = columns.typed_column(batch, f"{wait}_us")
            times_us[wait] = _filter(column.fill_null(0).to_numpy(), kept)
            if column.null_count:
                rows[wait] = np.flatnonzero(_filter(np.asarray(column.is_valid()), kept))
                times_us[wait] = times_us[wait][rows[wait]]
        measured = BatchColumns(
            positions={
                "unlabelled": np.flatnonzero(~labelled),
                "top5_unknown": np.flatnonzero(labelled & ~has_top5),
            },
            values={name: numbers[name] for name in BYTE_COLUMNS}
            | {"correct": correct.astype(np.int64), "top5_correct": in_top5},
            times_us=times_us,
            buckets={stage: to_buckets(times) for stage, times in times_us.items()},
            rows=rows,
        )
        self._by_run.add(codes["run"], measured)
        for name, group in self._groups.items():
            group.add(codes[name], measured)
        self._confusion.add(label[labelled], prediction[labelled])
        started = columns.typed_column(batch, "started_at").cast(pa.int64())
        dated = _filter(np.asarray(started.is_valid()), kept)
        start_us = _filter(started.fill_null(0).to_numpy(), kept)[dated]
        shard = _filter(columns.typed_column(batch, "shard").fill_null(NO_SHARD).to_numpy(), kept)[dated]
        self._throughput.add(codes["run_id"][dated], shard, start_us, start_us + times_us["latency"][dated])
        self._run_starts.add(codes["run"][dated], start_us)
        self._add_confidences(batch, kept, label, prediction, correct)

    def _add_confidences(
        self, batch: pa.RecordBatch, kept: Mask | None, label: Integers, prediction: Integers, correct: Mask
    ) -> None:
        """Count the confidences, and those of labelled records; a number outside [0, 1] counts as no confidence."""
        confidence = _filter(np.asarray(columns.typed_column(batch, "confidence"), np.float32), kept)
        valid = (confidence >= 0) & (confidence <= 1)
        self._confidence.add(confidence[valid])
        known = np.flatnonzero((label != NULL) & valid)
        self._calibration.add(confidence[known], correct[known])
        wrong = known[~correct[known]]
        rows = wrong[sortable_bits(confidence[wrong]) >= self._confident_errors.threshold]
        if len(rows):
            self._confident_errors.add(
                self._classes.decode(label[rows]).cast(pa.string()),
                self._classes.decode(prediction[rows]).cast(pa.string()),
                columns.typed_column(batch, "image").take(pa.array(_filter(np.arange(batch.num_rows), kept)[rows])),
                confidence[rows],
            )


def count_table(table: pa.Table, by: Sequence[str] = ()) -> Counts:
    """The counts of a table of records. Raises NotRecords."""
    counter = RecordCounter(by)
    for batch in columns.current_records(table, by).to_batches():
        counter.add(batch)
    return merge_counts([counter.counts()])


def _required(column: pa.Array, name: str, kept: Mask | None) -> Integers:
    """The kept rows of a column of integers. Raises NotRecords for a null among them."""
    if column.null_count:
        if _filter(np.asarray(column.is_null()), kept).any():
            raise NotRecords(f"some of its classified records have no {name}")
        column = column.fill_null(0)
    return _filter(column.to_numpy(), kept)


def _filter(values: npt.NDArray[Scalar], kept: Mask | None) -> npt.NDArray[Scalar]:
    return values if kept is None else values[kept]
