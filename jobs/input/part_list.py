"""The parts of runs: the list that every engine divides among its workers, and the counts of a worker's share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.errors import HybridBatchError, NotARun
from hybrid_batch.data.log.records import PART_NAME
from hybrid_batch.data.log.runs import RunFolder, open_runs
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.counting.columns import NotRecords
from hybrid_batch.evaluation.counting.counts import Counts, build_counts
from hybrid_batch.evaluation.counting.parquet_reader import read_batches
from hybrid_batch.evaluation.counting.record_counter import RecordCounter
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.evaluation.run_facts import RunFacts, facts_of

_MAX_RESTARTS = 4
_BUILD_LOCK = Lock()  # building counts takes 100 MB for a thousand classes and little time: one thread at a time


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a run. `run` is an absolute path or a URI, so that it is valid in every process."""

    run: str
    index: int


@dataclass(frozen=True, slots=True)
class PartList:
    """The parts to evaluate; notes are sentences about unfinished runs and about images that several runs contain."""

    parts: list[Part]
    notes: list[str]


def list_parts(uris: Iterable[str], all_runs: bool | None = None) -> PartList:
    """The parts of the runs at `uris`, each a folder `LOG/run=ID` or a LOG that holds a single run, without repeats.

    With `all_runs` a LOG of several runs is also accepted; None: the user has no option to choose that. Raises NotARun
    where a run is missing or where none of the runs has a part, WrongUsage for a LOG of several runs unless `all_runs`,
    StorageFailed.
    """
    runs = list({run.uri: run for uri in uris for run in open_runs(uri, all_runs)}.values())
    parts: list[Part] = []
    notes: list[str] = []
    for run in runs:
        indexes = list(run.parts())
        parts += [Part(run.uri, index) for index in indexes]
        notes += _describe_gaps(run, set(indexes))
    notes += _describe_models([facts_of(run.uri, run.settings()) for run in runs])
    notes += _describe_shared_images(runs)
    if not parts:
        raise NotARun(" ".join(notes) or "No run to evaluate; name one or more run folders.")
    return PartList(parts, notes)


def count_parts(parts: Iterable[Part], by: Sequence[str] = ()) -> Counts:
    """The counts of the parts, not merged, sliced also by the columns `by`. One batch is in memory at a time.

    A part that is not readable to its end is not counted but listed in the tally `bad_parts`.
    """
    counter = RecordCounter(by)
    folders: dict[str, RunFolder] = {}
    good: list[Part] = []
    bad: list[str] = []
    restarts = 0
    for part in parts:
        batches_before = counter.started_batches
        try:
            if restarts > _MAX_RESTARTS:
                raise NotARun(_describe(part, f"it is not counted after {restarts} damaged parts"))
            if restarts:  # a log with one damaged part may have more: find them before they cost a restart
                _count(RecordCounter(by), part, folders, by)
            _count(counter, part, folders, by)
        except HybridBatchError as error:
            bad.append(str(error))
            if counter.started_batches > batches_before:  # the part's first records cannot be subtracted: start over
                restarts += 1
                counter = RecordCounter(by)
                for other in good:
                    _count(counter, other, folders, by)
        else:
            good.append(part)
        pa.default_memory_pool().release_unused()  # Arrow would keep memory that the counts may need
    with _BUILD_LOCK:
        counts = counter.counts()
    return counts | {"bad_parts": build_counts(bad_parts={"sentence": bad, "parts": [1] * len(bad)})["bad_parts"]}


def _count(counter: RecordCounter, part: Part, folders: dict[str, RunFolder], by: Sequence[str]) -> None:
    if part.run not in folders:
        folders[part.run] = RunFolder(open_storage(part.run))
    with folders[part.run].open_part(part.index) as file:
        try:
            for batch in read_batches(file, by):
                counter.add(batch)
        except NotRecords as error:
            raise NotARun(_describe(part, str(error))) from error


def _describe(part: Part, reason: str) -> str:
    name = PART_NAME.format(part.index)
    return f"{part.run}/{name} cannot be counted: {reason}; remove it, and repeat the same `hybrid-batch run`."


def require_complete(report: Report) -> Report:
    """The same report. Raises NotARun for a report without the records of unreadable parts."""
    bad = report["bad_parts"]
    if bad:
        more = f" ({len(bad):,} parts cannot be counted.)" if len(bad) > 1 else ""
        raise NotARun(f"{bad[0].rstrip('.')}, or leave it out with --skip-unreadable.{more}")
    return report


def _describe_models(facts: Sequence[RunFacts]) -> Iterator[str]:
    """Sentences about runs of several models, whose scores make no sense together, and models with random weights."""
    for name in dict.fromkeys(fact.model or fact.run for fact in facts if fact.weights == "random"):
        yield f"{name} has random weights, so its predictions and accuracy carry no meaning; only times and bytes do."
    models = {fact.bundle: fact.model or (fact.bundle or "unknown")[:12] for fact in facts}
    if len(models) > 1:
        yield (
            f"These {len(facts):,} runs are of {len(models):,} models ({', '.join(sorted(models.values()))}), which "
            "the scores mix; evaluate the runs of each model alone, or compare two runs with `hybrid-batch compare`."
        )


def _describe_shared_images(runs: Sequence[RunFolder]) -> Iterator[str]:
    """A sentence about the images that are in more than one of the runs, if any."""
    if len(runs) < 2:
        return
    images = pa.chunked_array([chunk for run in runs for chunk in run.images()["image"].chunks], pa.string())
    repeated = len(images) - int(pc.count_distinct(images).as_py())
    if repeated:
        verb = "is" if repeated == 1 else "are"
        yield f"{repeated:,} of the {len(images):,} images of these runs {verb} repeated; every repetition is counted."


def _describe_gaps(run: RunFolder, done: set[int]) -> Iterator[str]:
    """Sentences about missing and excess parts of a run. Raises NotARun for settings without a shard size."""
    if not done:
        yield f"{run.uri} has no records yet; repeat the same `hybrid-batch run`."
        return
    total = len(run.images())
    size = run.settings().get("shard_size")
    if not isinstance(size, int) or size < 1:
        raise NotARun(f"The settings of {run.uri} have the shard_size {size!r}, not a number; the run cannot be used.")
    expected = -(-total // size)
    if excess := sorted(index for index in done if index >= expected):
        name = PART_NAME.format(excess[0])
        yield f"{run.uri} holds {name}, which is not one of its parts; its records are counted too."
    missing = total - sum(min(size, total - size * index) for index in done if index < expected)
    if missing == 0:
        return
    yield (
        f"{run.uri} is unfinished: {missing:,} of its {total:,} images {'is' if missing == 1 else 'are'} missing, with "
        f"{expected - len(done) + len(excess):,} of {expected:,} parts."
    )
