"""Every engine gives the same bytes for a comparison of the same files."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hybrid_batch.data.errors import NotARun, StorageFailed
from hybrid_batch.data.log.records import to_table
from hybrid_batch.evaluation.comparison import run_join
from hybrid_batch.evaluation.comparison.comparison import build_comparison
from hybrid_batch.evaluation.comparison.run_join import JoinCounts
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.jobs import compare_inline, compare_mrjob, compare_spark
from hybrid_batch.jobs.engines.spark_session import spark_session
from hybrid_batch.jobs.input import comparison_input
from hybrid_batch.jobs.input.comparison_input import ComparisonInput, SidePart, list_comparison_input
from tests.conftest import HANG_S
from tests.factories.records import random_records, write_run

pytestmark = pytest.mark.slow

A = random_records(600, ["cat", "dog", 'tab\t"line\n', "é"], seed=1)
B = [
    replace(other, image=entry.image, label=entry.label)
    for entry, other in zip(A[30:], random_records(570, ["cat", "dog", "é"], seed=2), strict=True)
]
BY = ("cut",)
TABLES = [run_join.select_columns(to_table(side), BY) for side in (A, B)]
EXPECTED = to_json(build_comparison(run_join.join_and_count(*TABLES)))

Engine = Callable[[ComparisonInput], JoinCounts]
ENGINES: dict[str, Engine] = {
    "inline": compare_inline.compare,
    "mrjob": compare_mrjob.compare,
    "spark": compare_spark.compare,
}
# pyspark does not close the socket of `collect`.
UNCLOSED = pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def spark() -> Iterator[None]:
    """The product's Spark session, shared by all tests, since it takes seconds to start."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("JAVA_HOME", raising=False)
        with spark_session():
            yield


@pytest.fixture(params=["inline", "mrjob", pytest.param("spark", marks=UNCLOSED)])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "spark":
        request.getfixturevalue("spark")
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    log = tmp_path_factory.mktemp("log")
    for name, records, size in (("a", A, 70), ("b", B, 250)):
        write_run(str(log / f"run={name}"), records, size)
    return str(log / "run=a"), str(log / "run=b")


def script(name: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    command = [sys.executable, "-m", f"hybrid_batch.jobs.{name}", *arguments]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=HANG_S, check=False)


def test_engines_agree_with_one_bucket_and_with_many(
    engine: Engine, runs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = list_comparison_input(runs, BY)
    monkeypatch.setattr(comparison_input, "BUCKET_ROWS", 200)
    many = list_comparison_input(runs, BY)
    assert (one.buckets, many.buckets) == (1, 7)
    assert to_json(build_comparison(engine(many))) == EXPECTED
    assert to_json(build_comparison(engine(one))) == EXPECTED


def test_a_run_on_s3_is_compared_with_a_local_run(bucket: str, runs: tuple[str, str]) -> None:
    write_run(f"s3://{bucket}/run=b", B, 300)
    comparing = list_comparison_input((runs[0], f"s3://{bucket}"), BY)
    assert to_json(build_comparison(compare_inline.compare(comparing))) == EXPECTED


def test_every_engine_reports_a_truncated_part_in_one_sentence(
    engine: Engine, runs: tuple[str, str], tmp_path: Path
) -> None:
    write_run(str(tmp_path), B, 250)
    part = tmp_path / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(NotARun, match=rf"{tmp_path}/part-00001\.parquet cannot be compared: .* not a readable Parquet"):
        build_comparison(engine(list_comparison_input((runs[0], str(tmp_path)))))


@pytest.mark.parametrize("runner", ["inline", "local", "spark"])
def test_the_mrjob_script_prints_the_comparison(runner: str, runs: tuple[str, str], tmp_path: Path) -> None:
    done = script("compare_mrjob", "-r", runner, "--no-conf", "--by", "cut", *runs, TMPDIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{EXPECTED}\n"), done.stderr


def test_the_mrjob_script_uses_as_many_buckets_as_the_runs_need(
    runs: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[int] = []

    def partition_part(
        part: SidePart, buckets: int, by: Sequence[str], skip_unreadable: bool
    ) -> Iterator[tuple[int, bytes]]:
        given.append(buckets)
        return comparison_input.partition_part(part, buckets, by, skip_unreadable)

    monkeypatch.setattr(compare_mrjob, "partition_part", partition_part)
    monkeypatch.setattr(comparison_input, "BUCKET_ROWS", 200)
    compare_mrjob.CompareRuns(["-r", "inline", "--no-conf", "--quiet", "--by", "cut", *runs]).run_job()
    assert (set(given), capsys.readouterr().out) == ({7}, f"{EXPECTED}\n")


@UNCLOSED
def test_the_spark_script_prints_the_comparison(
    runs: tuple[str, str], spark: None, capsys: pytest.CaptureFixture[str]
) -> None:
    compare_spark.main([*runs, "--by", "cut"])
    assert capsys.readouterr() == (f"{EXPECTED}\n", "")


@pytest.mark.parametrize("name", ["compare_mrjob", "compare_spark"])
def test_scripts_fail_in_one_sentence(name: str, runs: tuple[str, str]) -> None:
    done = script(name, *runs, runs[0])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "hybrid-batch: A comparison takes two runs, not 3; name RUN_A and RUN_B."


def test_a_full_disk_is_reported(runs: tuple[str, str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
    try:
        with pytest.raises(StorageFailed, match=r"Cannot shuffle through .* \(File too large\); set TMPDIR"):
            compare_inline.compare(list_comparison_input(runs))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
