from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pytest

from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.evaluation.counting.counts import merge_counts
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.evaluation.report_schema import Throughput
from tests.factories.records import PLAIN, record
from tests.factories.version_1 import to_table_1


def at(second: float, latency_s: float = 0, shard: int = 0, run_id: str = "x") -> Record:
    started_at = PLAIN.started_at + timedelta(seconds=second)
    return record(started_at=started_at, latency_us=int(latency_s * 1e6), shard=shard, run_id=run_id)


def throughput(records: list[Record], table: Callable[[list[Record]], pa.Table] = to_table_1) -> Throughput:
    expected = build_report(count_table(table(records)))["throughput"]
    parts = [count_table(table(records[place::3])) for place in range(3)]
    assert build_report(merge_counts(parts))["throughput"] == expected
    return expected


def test_time_without_a_shard_in_work_is_a_pause() -> None:
    first = [at(second, 1) for second in range(10)]
    overlapping = [at(second, 1, shard=1) for second in range(8, 12)]
    resumed = [at(32 + second, 1, shard=2) for second in range(8)]  # 20 s after the end of the first two
    other = [at(100, 1, run_id="y"), at(101, 1, run_id="z")]
    measured = throughput([*resumed, *first, *other, *overlapping], to_table)
    assert measured == {"active_s": 22, "images_per_s": 24 / 22}


def test_time_between_runs_of_the_same_name_in_two_logs_is_a_pause() -> None:
    measured = throughput([at(start + second, 1) for start in (0, 86_400) for second in range(10)], to_table)
    assert measured == {"active_s": 20, "images_per_s": 1}


def test_a_shard_may_take_longer_than_a_minute() -> None:
    measured = throughput([at(second, 1) for second in range(0, 400, 40)], to_table)
    assert measured == {"active_s": 361, "images_per_s": 10 / 361}


def test_active_time_is_from_the_first_start_to_the_last_end() -> None:
    measured = throughput([at(10, 2), at(0, 1), at(11, 3)])
    assert measured == {"active_s": 14, "images_per_s": 3 / 14}


@pytest.mark.parametrize("records", [[], [at(5)]])
def test_without_active_time_the_throughput_is_unknown(records: list[Record]) -> None:
    assert throughput(records) == {"active_s": 0, "images_per_s": None}


def test_a_night_between_two_halves_of_a_run_is_not_active_time() -> None:
    measured = throughput([*(at(second, 1) for second in range(30)), *(at(40_000 + second, 1) for second in range(20))])
    assert measured == {"active_s": 50, "images_per_s": 1}


def test_minutes_without_a_pause_are_one_interval() -> None:
    assert throughput([at(second, 1) for second in range(0, 400, 40)])["active_s"] == 361


def test_a_record_longer_than_a_minute_is_not_a_pause() -> None:
    assert throughput([at(0, 600), at(300, 1), at(590, 20)])["active_s"] == 610
