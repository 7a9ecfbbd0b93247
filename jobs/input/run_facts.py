"""The facts of runs, read from their folders."""

from collections.abc import Iterable

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.run_facts import RunFacts, facts_of


def read_run_facts(runs: Iterable[str]) -> list[RunFacts]:
    """The facts of each run folder, in order and without repeats. A folder that cannot be read has only its name."""
    return [_facts(run) for run in dict.fromkeys(runs)]


def _facts(run: str) -> RunFacts:
    try:
        return facts_of(run, RunFolder(open_storage(run)).settings())
    except HybridBatchError:
        return facts_of(run, {})
