"""`run --overwrite`: delete a run, and nothing that is not the run's own."""

import re
from collections.abc import Sequence

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.log.runs import RunFolder

# The objects of a run in the order of deletion, so that the same command continues after an interruption; those of
# `hybrid-batch evaluate`; and temporary files of a killed process.
_OWN = tuple(
    map(
        re.compile,
        (
            r"_SUCCESS",
            r"_report/(report\.(json|html)|(confusion|per_class|slices|failures|latency)\.csv)",
            r"part-\d{5,}\.parquet",
            r"(_report/)?\.tmp-[0-9a-f]{16}",
            r"_images\.(pq|parquet)",
            r"_run\.json",
        ),
    )
)


def find_existing(folder: RunFolder) -> tuple[str, ...]:
    """The names of the run's objects, in the order of deletion. Raises WrongUsage if the folder contains any other
    object, StorageFailed."""
    names = {entry.name for entry in folder.storage.list_files()}
    own = tuple(name for pattern in _OWN for name in sorted(names) if pattern.fullmatch(name))
    if others := sorted(names.difference(own)):
        raise WrongUsage(
            f"{folder.uri} contains {others[0]!r}, which is not part of a run; move it, or use another --run-id."
        )
    return own


def remove_run(folder: RunFolder, names: Sequence[str]) -> None:
    """Delete the objects that `find_existing` found. Raises StorageFailed.

    The last one, the settings, is deleted alone: S3 deletes the objects of one request in any order, and without
    settings another run could take over the parts that are left."""
    if names:
        *others, settings = names
        folder.storage.remove(*others)
        folder.storage.remove(settings)
