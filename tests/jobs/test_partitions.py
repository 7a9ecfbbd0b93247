"""However the records lie in parts and in whatever order, every engine writes the same bytes."""

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.records import PART_NAME, Record, to_table
from evaluation.report import to_json
from evaluation.shape import Report
from jobs import evaluate_mrjob, inline
from jobs.parts import Part, find_work
from tests.made_records import random_records, write_run

RECORDS = random_records(400, ["cat", "dog", "é", "fox"])
SPARK = """
import hashlib, json, os, sys
from pyspark.sql import SparkSession
from evaluation.report import to_json
from jobs.evaluate_spark import evaluate
from jobs.spark_session import ALONE, find_java
from jobs.parts import find_work
os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
find_java("3.5")
builder = SparkSession.builder
for name, value in {**ALONE, "spark.master": sys.argv[1]}.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
texts = [to_json(evaluate(find_work([run]).parts, ["batch"])) for run in sys.argv[2:]]
spark.stop()
print(json.dumps(sorted({hashlib.sha256(text.encode()).hexdigest() for text in texts})))
"""


def sha(report: Report) -> str:
    return hashlib.sha256(to_json(report).encode()).hexdigest()


def partitioned(records: list[Record], order: random.Random) -> Iterator[list[Record]]:
    shuffled = order.sample(records, len(records))
    while shuffled:
        size = order.choice([1, order.randint(1, 100), order.randint(100, 400)])
        yield shuffled[:size]
        shuffled = shuffled[size:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """50 runs of the same records, each in parts of its own; engines slow to start take every third or fifth."""
    folder = tmp_path_factory.mktemp("log")
    order = random.Random(7)
    uris = [str(folder / f"run={number}") for number in range(50)]
    for uri in uris:
        run = write_run(uri, [], 1)
        for index, part in enumerate(partitioned(RECORDS, order)):
            write_part(run.uri, index, part)
    return uris


def write_part(run: str, index: int, records: list[Record]) -> None:
    pq.write_table(to_table(records), Path(run) / PART_NAME.format(index), row_group_size=50 + index * 37)


@pytest.fixture(scope="module")
def expected(runs: list[str]) -> str:
    """The sha256 that the first run gives."""
    return sha(inline.evaluate(find_work(runs[:1]).parts, ["batch"]))


def shuffled(run: str) -> list[Part]:
    parts = find_work([run]).parts
    return random.Random(len(run)).sample(parts, len(parts))


def test_inline(runs: list[str], expected: str) -> None:
    assert {sha(inline.evaluate(shuffled(run), ["batch"])) for run in runs} == {expected}


def test_mrjob_inline(runs: list[str], expected: str) -> None:
    assert {sha(evaluate_mrjob.evaluate(shuffled(run), ["batch"])) for run in runs[::3]} == {expected}


def test_mrjob_local(runs: list[str], expected: str, tmp_path: Path) -> None:
    found = set()
    for run in runs[1:2]:
        done = subprocess.run(
            [sys.executable, "-m", "jobs.evaluate_mrjob", "-r", "local", "--no-conf", "--by", "batch", run],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
            timeout=100,
            check=True,
        )
        found.add(hashlib.sha256(done.stdout.strip().encode()).hexdigest())
    assert found == {expected}


@pytest.mark.parametrize("master", ["local[1]", "local[2]"])
def test_spark(master: str, runs: list[str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPARK, master, *runs[::5]], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [expected]
