"""The records and parts in the log of a run."""

import time
from pathlib import Path
from typing import Any

from hybrid_batch.data.log.records import STAGES, WAITS
from hybrid_batch.data.log.runs import find_runs
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.data.storage.storage import Storage
from tests.conftest import HANG_S

TIMES = {*(f"{name}_us" for name in (*STAGES, *WAITS)), "started_at"}


def read_records(log: str | Path) -> list[dict[str, Any]]:
    """The records of the only run in a log, in the order of its shards."""
    (run,) = find_runs(open_storage(str(log)))
    return [record for shard in run.parts() for record in run.read_part(shard).to_pylist()]


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records without their times and the name of their run."""
    return [{name: value for name, value in record.items() if name not in (*TIMES, "run_id")} for record in records]


def count_parts(log: str | Path) -> int:
    """The number of committed shards of all runs in a log."""
    return _count(open_storage(str(log)))


def await_parts(log: str | Path, count: int) -> int:
    """Wait until at least `count` shards are committed; return their number."""
    storage, end = open_storage(str(log)), time.monotonic() + HANG_S
    while (found := _count(storage)) < count:
        assert time.monotonic() < end, f"{log} has {found} parts, not {count}"
        time.sleep(0.002)
    return found


def _count(log: Storage) -> int:
    return sum("/part-" in entry.name for entry in log.list_files())
