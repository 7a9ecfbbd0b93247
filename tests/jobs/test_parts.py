import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_batch.data.errors import NotARun, StorageFailed, WrongUsage
from hybrid_batch.evaluation.counting.counts import merge
from hybrid_batch.evaluation.report import build
from hybrid_batch.jobs.input.part_list import Part, count_parts, find_work, whole
from tests.made_records import random_records, write_run

RECORDS = random_records(100, ["a", "b"])


def test_parts_are_found_in_order_from_a_run_or_from_a_log_of_one(tmp_path: Path) -> None:
    run = tmp_path / "log" / "run=x"
    write_run(str(run), RECORDS, 30)
    parts = [Part(str(run), index) for index in range(4)]
    assert find_work([str(run)]).parts == parts
    assert find_work([str(tmp_path / "log")]).parts == parts
    assert find_work([str(run)]).notes == []


def test_a_relative_path_means_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(str(tmp_path / "run=x"), RECORDS, 50)
    monkeypatch.chdir(tmp_path)
    parts = find_work(["run=x"]).parts
    os.chdir("/")
    assert build(merge([count_parts(parts)]))["coverage"]["records"] == 100


def test_a_run_named_twice_is_counted_once(tmp_path: Path) -> None:
    run = str(tmp_path / "run=x")
    write_run(run, RECORDS, 50)
    assert len(find_work([run, f"{run}/", str(tmp_path)]).parts) == 2


def test_several_runs_are_counted_together(tmp_path: Path) -> None:
    for name in ("run=x", "run=y"):
        write_run(str(tmp_path / name), RECORDS, 50)
    work = find_work([str(tmp_path / "run=x"), str(tmp_path / "run=y")])
    assert build(merge([count_parts(work.parts)]))["coverage"]["records"] == 200


def test_a_log_of_several_runs_must_be_narrowed(tmp_path: Path) -> None:
    for name in ("run=x", "run=y"):
        write_run(str(tmp_path / name), RECORDS, 50)
    with pytest.raises(WrongUsage, match=r"a log of 2 runs \(run=x, run=y\); name one\.$"):
        find_work([str(tmp_path)])


def test_of_an_unfinished_run_the_shortfall_is_told(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 30, finished=False)
    work = find_work([str(tmp_path)])
    assert len(work.parts) == 3
    assert work.notes == [f"{tmp_path} is unfinished: 10 of its 100 images are in the 1 of 4 parts still to come."]


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_place_without_a_run_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotARun, match=f"no run in .*{name}"):
        find_work([str(tmp_path / name)])


def test_a_run_without_records_is_refused(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS[:1], 30, finished=False)
    with pytest.raises(NotARun, match="holds no records yet"):
        find_work([str(tmp_path)])
    with pytest.raises(NotARun, match="No run is given"):
        find_work([])


def test_settings_without_a_shard_size_are_refused(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 30, finished=False)
    (tmp_path / "_run.json").write_text('{"format": 1, "shard_size": "many"}')
    with pytest.raises(NotARun, match="no shard_size but 'many'"):
        find_work([str(tmp_path)])


def test_a_bucket_that_does_not_exist_is_told(aws: str) -> None:
    with pytest.raises(StorageFailed, match="no bucket 'nowhere-at-all'"):
        find_work(["s3://nowhere-at-all/log"])


def test_parts_that_cannot_be_counted_are_named_and_the_others_counted(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 30)
    (tmp_path / "part-00001.parquet").write_bytes((tmp_path / "part-00001.parquet").read_bytes()[:-100])
    pq.write_table(pa.table({"x": [1]}), tmp_path / "part-00002.parquet")
    report = build(merge([count_parts(find_work([str(tmp_path)]).parts)]))
    assert report["coverage"]["records"] == 40
    truncated, foreign = report["bad_parts"]
    assert truncated.startswith(f"{tmp_path}/part-00001.parquet cannot be counted: it is not a readable Parquet")
    assert foreign.startswith(f"{tmp_path}/part-00002.parquet cannot be counted: it holds no records")
    with pytest.raises(NotARun) as raised:
        whole(report)
    assert truncated.endswith("; remove it, and the same `hybrid-batch run` makes it again.")
    assert str(raised.value) == f"{truncated[:-1]}, or leave it out with --skip-bad. (2 parts cannot be counted.)"


def test_a_part_gone_meanwhile_is_named(tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 30)
    work = find_work([str(tmp_path)])
    (tmp_path / "part-00003.parquet").unlink()
    with pytest.raises(NotARun, match=r"no part-00003\.parquet"):
        whole(build(merge([count_parts(work.parts)])))
