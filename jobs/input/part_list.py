"""The parts of runs: the list every engine shares out, and what a worker makes of its share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.errors import HybridBatchError, NotARun, WrongUsage
from hybrid_batch.data.log.records import PART_NAME
from hybrid_batch.data.log.runs import RunFolder, find_runs, shards
from hybrid_batch.data.storage.storage import open_storage
from hybrid_batch.evaluation.counting.columns import NotRecords
from hybrid_batch.evaluation.counting.counts import Counts, bag
from hybrid_batch.evaluation.counting.parquet_reader import batches
from hybrid_batch.evaluation.counting.record_counter import Counting
from hybrid_batch.evaluation.report_schema import Report

_ONE_BAG = Lock()  # to make one takes 100 MB for a thousand classes, and is soon done: threads do it in turn


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a run, by names that mean the same in any process: `run` is absolute, or has a scheme."""

    run: str
    index: int


@dataclass(frozen=True, slots=True)
class Work:
    """The parts to evaluate; and a sentence for each run that is unfinished, and on images that runs share."""

    parts: list[Part]
    notes: list[str]


def find_work(uris: Iterable[str], all_runs: bool | None = None) -> Work:
    """The parts of the runs at `uris`: folders `LOG/run=ID`, or a LOG that holds a single run.

    With `all_runs` also a LOG of several; None where the user has no way to ask for it. A run named twice is taken
    once. Raises NotARun where there is no run or not one part in all of them,
    WrongUsage for a log of several runs unless `all_runs`, StorageFailed.
    """
    runs = list({run.uri: run for uri in uris for run in _runs(uri, all_runs)}.values())
    parts: list[Part] = []
    notes: list[str] = []
    for run in runs:
        indexes = list(run.parts())
        parts += [Part(run.uri, index) for index in indexes]
        notes += _shortfall(run, set(indexes))
    notes += _shared_images(runs)
    if not parts:
        raise NotARun(" ".join(notes) or "No run is given to evaluate; name one or more run folders.")
    return Work(parts, notes)


def count_parts(parts: Iterable[Part], by: Sequence[str] = ()) -> Counts:
    """The counts of the parts, not merged, sliced also by the columns `by`; a batch of records is held at a time.

    A part that cannot be read to its end is not counted: it is a `bad_part`.
    """
    counting = Counting(by)
    folders: dict[str, RunFolder] = {}
    good: list[Part] = []
    bad: list[str] = []
    for part in parts:
        before = counting.batches
        try:
            _count(counting, part, folders, by)
        except HybridBatchError as error:
            bad.append(str(error))
            if counting.batches > before:  # its first records are counted and cannot be taken back
                counting = Counting(by)
                for other in good:
                    _count(counting, other, folders, by)
        else:
            good.append(part)
        pa.default_memory_pool().release_unused()  # what Arrow keeps for itself is memory the counts may need
    with _ONE_BAG:
        counts = counting.counts()
    return counts | {"bad_parts": bag(bad_parts={"sentence": bad, "parts": [1] * len(bad)})["bad_parts"]}


def _count(counting: Counting, part: Part, folders: dict[str, RunFolder], by: Sequence[str]) -> None:
    if part.run not in folders:
        folders[part.run] = RunFolder(open_storage(part.run))
    with folders[part.run].open_part(part.index) as file:
        try:
            for batch in batches(file, by):
                counting.add(batch)
        except NotRecords as error:
            name = PART_NAME.format(part.index)
            raise NotARun(
                f"{part.run}/{name} cannot be counted: {error}; remove it, and the same `hybrid-batch run` makes it "
                "again."
            ) from error


def whole(report: Report) -> Report:
    """The report given. Raises NotARun when it lacks parts that could not be counted."""
    bad = report["bad_parts"]
    if bad:
        more = f" ({len(bad):,} parts cannot be counted.)" if len(bad) > 1 else ""
        raise NotARun(f"{bad[0].rstrip('.')}, or leave it out with --skip-bad.{more}")
    return report


def _runs(uri: str, all_runs: bool | None) -> list[RunFolder]:
    storage = open_storage(uri if "://" in uri else str(Path(uri).absolute()))
    runs = find_runs(storage) or [RunFolder(storage)]
    if len(runs) > 1 and not all_runs:
        names = ", ".join(run.uri.rpartition("/")[2] for run in runs[:5]) + (", …" if len(runs) > 5 else "")
        hint = "name one" if all_runs is None else "name one, or add --all-runs"
        raise WrongUsage(f"{uri} is a log of {len(runs)} runs ({names}); {hint}.")
    for run in runs:
        run.settings()  # raises NotARun
    return runs


def _shared_images(runs: Sequence[RunFolder]) -> Iterator[str]:
    """How many images are in more than one of the runs, in a sentence; nothing when none are."""
    if len(runs) < 2:
        return
    images = pa.chunked_array([chunk for run in runs for chunk in run.images()["image"].chunks], pa.string())
    more = len(images) - int(pc.count_distinct(images).as_py())
    if more:
        yield f"{more:,} of the {len(images):,} images of these runs have the name of another; each counts."


def _shortfall(run: RunFolder, done: set[int]) -> Iterator[str]:
    """What a run lacks of its parts, or has beyond them, in a sentence each; nothing when just they stand."""
    if not done:
        yield f"{run.uri} holds no records yet; run the same command again to make them."
        return
    total = len(run.images())
    size = run.settings().get("shard_size")
    if not isinstance(size, int) or size < 1:
        raise NotARun(f"The settings of {run.uri} give no shard_size but {size!r}; the run cannot be used.")
    every = dict(shards(total, size))
    if strange := sorted(done - every.keys()):
        name = PART_NAME.format(strange[0])
        yield f"{run.uri} holds {name}, which is none of its parts; its records count too."
    missing = sum(len(images) for index, images in every.items() if index not in done)
    if missing == 0:
        return
    yield (
        f"{run.uri} is unfinished: {missing:,} of its {total:,} images are in the "
        f"{len(every) - len(done):,} of {len(every):,} parts still to come."
    )
