"""Counting: records in, batch by batch; counts out. This is the map of every job, and nearly all of its time.

Per record it costs some fifty additions into arrays, about 60 ns, against 120 ns for reading it from a file.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.log.records import STAGES
from hybrid_batch.evaluation.counting import columns
from hybrid_batch.evaluation.counting import confident_errors as exemplars
from hybrid_batch.evaluation.counting.columns import NotRecords
from hybrid_batch.evaluation.counting.confident_errors import Exemplars
from hybrid_batch.evaluation.counting.counts import BYTES, MAX_VALUES, OVERALL, TALLIES, Counts, bag, merge
from hybrid_batch.evaluation.counting.fixed_point import Integers
from hybrid_batch.evaluation.counting.group_counter import Facts, Grouping
from hybrid_batch.evaluation.counting.latency import bucket
from hybrid_batch.evaluation.counting.sparse_histogram import Pairs
from hybrid_batch.evaluation.counting.vocabulary import NULL, Words
from hybrid_batch.evaluation.report_schema import SLICED_BY
from hybrid_batch.evaluation.statistics.calibration import Confidences
from hybrid_batch.evaluation.statistics.throughput import Clock

_WAY = ("cut", "codec", "tail")  # sliced together, since few combinations of them occur
_NUMBERS = (*BYTES, *columns.TIMES)

Mask = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


class Counting:
    """Counts of the records added so far, sliced by `SLICED_BY` and by the columns `by`."""

    def __init__(self, by: Sequence[str] = ()) -> None:
        self.batches = 0  # begun to be added
        self._by = tuple(name for name in dict.fromkeys(by) if name not in SLICED_BY)
        self._classes = Words()
        self._words = {name: Words() for name in (*_WAY, "folder", *self._by)}
        self._ways: dict[tuple[int, ...], int] = {}
        self._by_way = Grouping(STAGES)
        self._groupings = {name: Grouping(("latency",)) for name in ("label", "prediction", "folder", *self._by)}
        self._overflows: list[str] = []
        self._confusion = Pairs()
        self._confidences = Confidences()
        self._clock = Clock()
        self._exemplars = Exemplars()

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of records. Raises NotRecords, after which the counts are of no use."""
        self.batches += 1
        columns.check(batch.schema, self._by)
        codes = self._codes(batch)
        in_top5, has_top5 = self._top5(batch, codes["label"])
        failed = np.asarray(pc.is_valid(batch.column("error"))) | (codes["prediction"] == NULL)
        if failed.any():
            self._by_way.add_errors(codes["way"][failed])
            for name, grouping in self._groupings.items():
                grouping.add_errors(codes[name][failed])
            kept = ~failed
            codes = {name: code[kept] for name, code in codes.items()}
            in_top5, has_top5 = in_top5[kept], has_top5[kept]
            self._add_classified(batch, kept, codes, in_top5, has_top5)
        elif batch.num_rows:
            self._add_classified(batch, None, codes, in_top5, has_top5)

    def counts(self) -> Counts:
        """The counts of all that was added, not merged: a key may come more than once. More may be added afterwards."""
        ways = np.array(list(self._ways), np.int64).reshape(-1, len(_WAY))
        parts = [self._by_way.counts(OVERALL, Words(), np.zeros(len(ways), np.int64))]
        parts += [self._by_way.counts(name, self._words[name], ways[:, place]) for place, name in enumerate(_WAY)]
        for name, grouping in self._groupings.items():
            words = self._words.get(name, self._classes)
            parts.append(grouping.counts(name, words, np.arange(len(words))))
        labels, predictions, records = self._confusion.items()
        return bag(
            **{name: TALLIES[name].join(part.pop(name) for part in parts) for name in list(parts[0])},
            confusion={
                "label": self._classes.words(labels),
                "prediction": self._classes.words(predictions),
                "records": records,
            },
            **self._confidences.columns(),
            minutes=self._clock.columns(),
            exemplars=self._exemplars.table(),
            overflows={"by": self._overflows, "shares": [1] * len(self._overflows)},
        )

    def _codes(self, batch: pa.RecordBatch) -> dict[str, Integers]:
        """By column, the code of each record's value; `way` is of cut, codec and tail together."""
        codes = {name: self._classes.codes(batch.column(name)) for name in ("label", "prediction")}
        for name in [name for name in self._groupings if name in self._words]:
            values = columns.folders(columns.column(batch, "image")) if name == "folder" else batch.column(name)
            codes[name] = self._words[name].codes(values)
            if len(self._words[name]) - 1 > MAX_VALUES:
                del self._groupings[name]
                self._overflows.append(name)
        way = np.zeros(batch.num_rows, np.int64)
        for name in _WAY:
            found = self._words[name].codes(batch.column(name))
            way = way * len(self._words[name]) + found
        codes["way"] = self._way_codes(way)
        return codes

    def _way_codes(self, joint: Integers) -> Integers:
        met = np.unique(joint) if joint.max(initial=0) > 1 << 16 else np.flatnonzero(np.bincount(joint))
        table = np.zeros(int(met.max(initial=-1)) + 1, np.int64)
        for number in met.tolist():
            rest, way = number, []
            for name in reversed(_WAY):
                rest, code = divmod(rest, len(self._words[name]))
                way.append(code)
            table[number] = self._ways.setdefault(tuple(reversed(way)), len(self._ways))
        return table[joint]

    def _top5(self, batch: pa.RecordBatch, label: Integers) -> tuple[Integers, Mask]:
        """Of each record: 1 where its label is in its top 5, and whether it has one."""
        lengths, labels = columns.top5(batch)
        candidates = self._classes.codes(labels)
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
        """Count the records of the batch that are `kept`, all when None; the arrays are of those alone."""
        label, prediction = codes["label"], codes["prediction"]
        labelled = label != NULL
        correct = label == prediction
        numbers = {name: _whole(columns.column(batch, name), name, kept) for name in _NUMBERS}
        times_us = {stage: numbers[f"{stage}_us"] for stage in STAGES}
        facts = Facts(
            ones={
                "unlabelled": np.flatnonzero(~labelled),
                "top5_unknown": np.flatnonzero(labelled & ~has_top5),
            },
            values={name: numbers[name] for name in BYTES}
            | {"correct": correct.astype(np.int64), "top5_correct": in_top5},
            times_us=times_us,
            buckets={stage: bucket(times) for stage, times in times_us.items()},
        )
        self._by_way.add(codes["way"], facts)
        for name, grouping in self._groupings.items():
            grouping.add(codes[name], facts)
        self._confusion.add(label[labelled], prediction[labelled])
        started = columns.column(batch, "started_at").cast(pa.int64())
        dated = _of(np.asarray(started.is_valid()), kept)
        start_us = _of(started.fill_null(0).to_numpy(), kept)[dated]
        self._clock.add(start_us, start_us + times_us["latency"][dated])
        self._add_confidences(batch, kept, label, prediction, correct)

    def _add_confidences(
        self, batch: pa.RecordBatch, kept: Mask | None, label: Integers, prediction: Integers, correct: Mask
    ) -> None:
        """Count the confidences of the labelled records; what is no probability is no confidence."""
        confidence = _of(np.asarray(columns.column(batch, "confidence"), np.float32), kept)
        known = np.flatnonzero((label != NULL) & (confidence >= 0) & (confidence <= 1))
        self._confidences.add(confidence[known], correct[known])
        wrong = known[~correct[known]]
        found = wrong[exemplars.ordered(confidence[wrong]) >= self._exemplars.threshold]
        if len(found):
            self._exemplars.add(
                self._classes.words(label[found]).cast(pa.string()),
                self._classes.words(prediction[found]).cast(pa.string()),
                columns.column(batch, "image").take(pa.array(_of(np.arange(batch.num_rows), kept)[found])),
                confidence[found],
            )


def count_table(table: pa.Table, by: Sequence[str] = ()) -> Counts:
    """The counts of a table of records. Raises NotRecords."""
    counting = Counting(by)
    columns.check(table.schema, by)
    for batch in table.to_batches():
        counting.add(batch)
    return merge([counting.counts()])


def _whole(column: pa.Array, name: str, kept: Mask | None) -> Integers:
    if column.null_count:
        if _of(np.asarray(column.is_null()), kept).any():
            raise NotRecords(f"some of its classified records have no {name}")
        column = column.fill_null(0)
    return _of(column.to_numpy(), kept)


def _of(values: npt.NDArray[Scalar], kept: Mask | None) -> npt.NDArray[Scalar]:
    return values if kept is None else values[kept]
