"""Runs whose records this user did not write."""

from collections.abc import Iterable, Iterator

from hybrid_batch.data.log.own_runs import describe_foreign
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.cache import cache_folder


def describe_foreign_runs(runs: Iterable[str]) -> Iterator[str]:
    """A sentence about the runs, by their folders, that this user did not begin on this machine, if there are any.
    Raises StorageFailed."""
    folders = [RunFolder(open_storage(run)) for run in dict.fromkeys(runs)]
    if sentence := describe_foreign(cache_folder("own"), folders):
        yield sentence
