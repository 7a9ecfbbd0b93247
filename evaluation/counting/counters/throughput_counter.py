"""The periods in which records were made, and the first and last start of groups of records."""

import numpy as np

from hybrid_batch.evaluation.counting.encoding.fixed_point import Integers

MINUTE_US = 60_000_000
NO_SHARD = -1
NO_START = np.iinfo(np.int64).max


class ThroughputCounter:
    """For each shard of a run, by the minute of the records' starts: their number, the first start and the last end.

    Records of version 1 have no shard: theirs are under `NO_SHARD`. The minutes separate runs of the same name: the
    default name is a hash of settings and images, so that a repetition in another log has it too.
    """

    def __init__(self) -> None:
        self._periods: dict[tuple[int, int, int], tuple[int, int, int]] = {}

    def __len__(self) -> int:
        """The number of periods."""
        return len(self._periods)

    def add(self, run: Integers, shard: Integers, start_us: Integers, end_us: Integers) -> None:
        """Count records by the code of their run, shard, start and end, in microseconds since 1970 (UTC)."""
        if not len(start_us):
            return
        keys = np.stack([run, shard, start_us // MINUTE_US])
        if (keys[:, :1] == keys).all():  # as in most parts that `run` wrote
            self._add_period(tuple(keys[:, 0].tolist()), len(start_us), int(start_us.min()), int(end_us.max()))
            return
        used, places, counts = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
        places = places.reshape(-1)
        first, last = np.full(len(counts), NO_START), np.full(len(counts), -NO_START)
        np.minimum.at(first, places, start_us)
        np.maximum.at(last, places, end_us)
        for key, *period in zip(used.T.tolist(), counts.tolist(), first.tolist(), last.tolist(), strict=True):
            self._add_period(tuple(key), *period)

    def columns(self) -> dict[str, Integers]:
        """The columns of the tally `periods`, with the code of the run."""
        rows = np.array([(*key, *period) for key, period in self._periods.items()], np.int64).reshape(-1, 6)
        names = ("run_id", "shard", "minute", "records", "first_us", "last_us")
        return dict(zip(names, rows.T, strict=True))

    def _add_period(self, key: tuple[int, ...], records: int, first_us: int, last_us: int) -> None:
        run, shard, minute = key
        previous, first, last = self._periods.get((run, shard, minute), (0, first_us, last_us))
        self._periods[run, shard, minute] = previous + records, min(first, first_us), max(last, last_us)


class SpanCounter:
    """The first and the last start of the records of each group."""

    def __init__(self) -> None:
        self._spans = np.zeros((2, 0), np.int64)

    def add(self, groups: Integers, start_us: Integers) -> None:
        """Add records by group and start, in microseconds since 1970 (UTC)."""
        self._grow(int(groups.max(initial=-1)) + 1)
        np.minimum.at(self._spans[0], groups, start_us)
        np.maximum.at(self._spans[1], groups, start_us)

    def columns(self, groups: int) -> dict[str, Integers]:
        """The columns `first_us` and `last_us` of the tally `runs`; NO_START and -NO_START in a group without one."""
        self._grow(groups)
        first, last = self._spans[:, :groups]
        return {"first_us": first, "last_us": last}

    def _grow(self, groups: int) -> None:
        new = groups - self._spans.shape[1]
        if new > 0:
            empty = np.repeat(np.array([[NO_START], [-NO_START]]), new, axis=1)
            self._spans = np.concatenate([self._spans, empty], axis=1)
