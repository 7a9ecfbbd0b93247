import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_batch.data.errors import NotARun, StorageFailed, WrongUsage
from hybrid_batch.evaluation.counting.counts import merge_counts
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.jobs.input.part_list import Part, count_parts, list_parts, require_complete
from tests.factories.records import random_records, write_run

RECORDS = random_records(100, ["a", "b"])


def test_parts_of_a_run_or_of_a_log_with_one_run_are_listed_in_order(tmp_path: Path) -> None:
    run = tmp_path / "log" / "run=x"
    write_run(str(run), RECORDS, 30)
    parts = [Part(str(run), index) for index in range(4)]
    assert list_parts([str(run)]).parts == parts
    assert list_parts([str(tmp_path / "log")]).parts == parts
    assert list_parts([str(run)]).notes == []


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 50)
    monkeypatch.chdir(tmp_path)
    parts = list_parts(["run=x"]).parts
    os.chdir("/")
    assert build_report(merge_counts([count_parts(parts)]))["coverage"]["records"] == 100


def test_a_run_that_is_named_twice_is_counted_once(tmp_path: Path) -> None:
    run = str(tmp_path / "run=x")
    write_run(run, RECORDS, 50)
    assert len(list_parts([run, f"{run}/", str(tmp_path)]).parts) == 2


def test_several_runs_are_counted_together(tmp_path: Path) -> None:
    for name in ("run=x", "run=y"):
        write_run(str(tmp_path / name), RECORDS, 50)
    work = list_parts([str(tmp_path / "run=x"), str(tmp_path / "run=y")])
    assert build_report(merge_counts([count_parts(work.parts)]))["coverage"]["records"] == 200


def test_a_log_of_several_runs_is_rejected(tmp_path: Path) -> None:
    for name in ("run=x", "run=y"):
        write_run(str(tmp_path / name), RECORDS, 50)
    with pytest.raises(WrongUsage, match=r"a log of 2 runs \(run=x, run=y\); name one \("):
        list_parts([str(tmp_path)])


def test_an_unfinished_run_has_a_note_about_missing_parts(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 30, finished=False)
    work = list_parts([str(tmp_path)])
    assert len(work.parts) == 3
    assert work.notes == [f"{tmp_path} is unfinished: 10 of its 100 images are missing, with 1 of 4 parts."]


def test_a_folder_without_a_run_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotARun, match=r"empty contains no run: _run\.json is missing"):
        list_parts([str(tmp_path / "empty")])


def test_a_run_without_records_is_rejected(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS[:1], 30, finished=False)
    with pytest.raises(NotARun, match="has no records yet; repeat the same `hybrid-batch run`"):
        list_parts([str(tmp_path)])
    with pytest.raises(NotARun, match="No run to evaluate; name one or more run folders"):
        list_parts([])


def test_settings_without_a_shard_size_are_rejected(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 30, finished=False)
    (tmp_path / "_run.json").write_text('{"format": 1, "shard_size": "many"}')
    with pytest.raises(NotARun, match="value of shard_size has another type or range"):
        list_parts([str(tmp_path)])


def test_a_missing_bucket_is_reported(aws: str) -> None:
    with pytest.raises(StorageFailed, match="bucket 'nowhere-at-all' does not exist"):
        list_parts(["s3://nowhere-at-all/log"])


def test_unreadable_parts_are_named_and_all_others_counted(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 30)
    (tmp_path / "part-00001.parquet").write_bytes((tmp_path / "part-00001.parquet").read_bytes()[:-100])
    pq.write_table(pa.table({"x": [1]}), tmp_path / "part-00002.parquet")
    report = build_report(merge_counts([count_parts(list_parts([str(tmp_path)]).parts)]))
    assert report["coverage"]["records"] == 40
    truncated, foreign = report["bad_parts"]
    assert truncated.startswith(f"{tmp_path}/part-00001.parquet cannot be counted: it is not a readable Parquet")
    assert foreign.startswith(f"{tmp_path}/part-00002.parquet cannot be counted: it holds no records")
    with pytest.raises(NotARun) as raised:
        require_complete(report)
    assert truncated.endswith("; remove it, and repeat the same `hybrid-batch run`.")
    assert (
        str(raised.value) == f"{truncated[:-1]}, or leave it out with --skip-unreadable. (2 parts cannot be counted.)"
    )


def test_a_part_removed_after_listing_is_reported(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 30)
    work = list_parts([str(tmp_path)])
    (tmp_path / "part-00003.parquet").unlink()
    with pytest.raises(NotARun, match=r"no part-00003\.parquet"):
        require_complete(build_report(merge_counts([count_parts(work.parts)])))


def test_a_missing_folder_is_called_missing_and_a_similar_one_is_named(tmp_path: Path) -> None:
    write_run(str(tmp_path / "mylog"), RECORDS[:1], 1)
    with pytest.raises(NotARun, match=f"No folder {tmp_path}/mylgo; did you mean {tmp_path}/mylog\\?"):
        list_parts([f"{tmp_path}/mylgo"])


def test_the_runs_of_a_log_are_named_with_chosen_names_first(tmp_path: Path) -> None:
    for name in ("0123456789ab", "ba9876543210", "mine"):
        write_run(str(tmp_path / f"run={name}"), RECORDS[:1], 1)
    expected = r"a log of 3 runs \(run=mine, run=0123456789ab, .*`hybrid-batch runs .*` lists them"
    with pytest.raises(WrongUsage, match=expected):
        list_parts([str(tmp_path)])
