"""Every engine gives the same bytes for a report on the same files."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import sleep

import pytest

from hybrid_batch.data.errors import MissingExtra, NotARun
from hybrid_batch.data.log.records import to_table
from hybrid_batch.evaluation.counting.counts import Counts
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.jobs import evaluate_inline, evaluate_mrjob, evaluate_spark
from hybrid_batch.jobs.engines.spark_session import find_java, spark_session
from hybrid_batch.jobs.input.part_list import Part, list_parts
from tests.conftest import HANG_S
from tests.factories.records import random_records, write_run

pytestmark = pytest.mark.slow

CLASSES = ["cat", "dog", 'tab\t"line\n', "é"]
RECORDS = random_records(1000, CLASSES)
EXPECTED = to_json(build_report(count_table(to_table(RECORDS))))

Engine = Callable[[Sequence[Part]], Report]
ENGINES: dict[str, Engine] = {
    "inline": evaluate_inline.evaluate,
    "mrjob": evaluate_mrjob.evaluate,
    "spark": evaluate_spark.evaluate,
}
# pyspark does not close the socket of `collect`.
UNCLOSED = pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(params=["inline", "mrjob", pytest.param("spark", marks=UNCLOSED)])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "spark":
        request.getfixturevalue("spark")
    return ENGINES[request.param]


@pytest.fixture(scope="session")
def local_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("log") / "run=x")
    write_run(uri, RECORDS, 70)
    return uri


@pytest.fixture(scope="session")
def no_java(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine without Java."""
    folder = tmp_path_factory.mktemp("bin")
    tools = "bash basename cat chmod dirname env ls nice ps readlink rm sed uname"
    for tool in tools.split():
        (folder / tool).symlink_to(
            next(path for path in map(Path, ("/usr/bin", "/bin")) if (path / tool).exists()) / tool
        )
    return {"PATH": str(folder)}


@pytest.fixture(scope="module")
def spark(ministack: str, no_java: dict[str, str]) -> Iterator[None]:
    """The product's Spark session, shared by all tests, since it takes seconds to start."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("JAVA_HOME", raising=False)
        environment.setenv("PATH", no_java["PATH"])
        environment.setenv("AWS_ENDPOINT_URL", ministack)
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        with spark_session():
            yield


def script(name: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    return subprocess.run(
        [sys.executable, "-m", f"hybrid_batch.jobs.{name}", *arguments],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def test_engines_agree_on_a_folder(engine: Engine, local_run: str) -> None:
    assert to_json(engine(list_parts([local_run]).parts)) == EXPECTED


def test_engines_agree_on_an_s3_bucket(engine: Engine, bucket: str) -> None:
    uri = f"s3://{bucket}/log/run=x"
    write_run(uri, RECORDS, 300)
    assert to_json(engine(list_parts([f"s3://{bucket}/log"]).parts)) == EXPECTED


def test_every_engine_reports_a_truncated_part_in_one_sentence(engine: Engine, tmp_path: Path) -> None:
    write_run(str(tmp_path), RECORDS, 300)
    part = tmp_path / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(NotARun, match=r"part-00002\.parquet cannot be counted: it is not a readable Parquet"):
        engine(list_parts([str(tmp_path)]).parts)


@pytest.mark.parametrize("runner", ["inline", "local", "spark"])
def test_the_mrjob_script_prints_the_report(runner: str, local_run: str, tmp_path: Path) -> None:
    done = script("evaluate_mrjob", "-r", runner, "--no-conf", local_run, TMPDIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{EXPECTED}\n"), done.stderr


def test_mrjobs_inline_runner_has_one_mapper_with_all_cores(
    local_run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[int] = []

    def count(parts: Sequence[Part], by: Sequence[str], threads: int) -> Counts:
        given.append(threads)
        return evaluate_inline.count(parts, by, threads)

    monkeypatch.setattr(evaluate_mrjob, "count", count)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    job = evaluate_mrjob.EvaluateRuns(["-r", "inline", "--no-conf", "--quiet", local_run])
    job.run_job()
    assert (given, capsys.readouterr().out) == ([3], f"{EXPECTED}\n")


def test_workers_of_the_mrjob_script_read_s3(bucket: str, tmp_path: Path) -> None:
    uri = f"s3://{bucket}/run=x"
    write_run(uri, RECORDS, 300)
    done = script("evaluate_mrjob", "-r", "local", "--no-conf", "--no-bootstrap-mrjob", uri, TMPDIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{EXPECTED}\n"), done.stderr


def test_the_mrjob_script_fails_in_one_sentence(tmp_path: Path) -> None:
    write_run(str(tmp_path / "run"), RECORDS, 300, finished=False)
    (tmp_path / "run" / "part-00000.parquet").write_bytes(b"PAR1")
    done = script(
        "evaluate_mrjob",
        "-r",
        "local",
        "--no-conf",
        "--no-bootstrap-mrjob",
        "-q",
        str(tmp_path / "run"),
        TMPDIR=str(tmp_path),
    )
    note, error = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert "is unfinished: 100 of its 1,000 images" in note
    assert error.startswith("hybrid-batch: ")
    assert "part-00000.parquet cannot be counted: it is not a readable Parquet" in error


def test_the_spark_script_needs_no_java_and_prints_nothing_else(local_run: str, no_java: dict[str, str]) -> None:
    done = script("evaluate_spark", local_run, **no_java)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{EXPECTED}\n", "")


def test_the_spark_script_fails_in_one_sentence(tmp_path: Path) -> None:
    done = script("evaluate_spark", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"hybrid-batch: {tmp_path} contains no run")


def test_a_missing_java_is_reported(local_run: str, tmp_path: Path) -> None:
    done = script("evaluate_spark", local_run, JAVA_HOME=str(tmp_path))
    assert done.returncode == 1
    expected = f"hybrid-batch: Spark's Java did not start (JAVA_HOME is '{tmp_path}')"
    assert done.stderr.splitlines()[-1].startswith(expected)


def test_spark_4_requires_an_installed_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match=r"Spark 4\.0\.0 finds no Java; install Java 17"):
        find_java("4.0.0")


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core: one thread")
def test_after_an_interrupt_threads_finish_only_their_current_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, interrupted = [], threading.Event()

    def slow(parts: Iterator[Part], _: Sequence[str]) -> None:
        for part in parts:
            sleep(0.1 if interrupted.is_set() else 0.002)  # reading all parts would then take minutes
            if part.index == 20:  # by then every thread has started
                interrupted.set()
                raise KeyboardInterrupt
            counted.append(part)

    monkeypatch.setattr(evaluate_inline, "count_parts", slow)
    with pytest.raises(KeyboardInterrupt):
        evaluate_inline.evaluate([Part("run", index) for index in range(2000)])
    assert len(counted) < 1000
