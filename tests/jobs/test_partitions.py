"""Every engine gives the same bytes for any partition of the records into parts, and for any order.

Threads evaluate all of fifty partitions, engines that start slowly some of them. The tests of EMR are in
`tests/emr/test_partitions.py`.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.jobs import evaluate_inline, evaluate_mrjob
from hybrid_batch.jobs.input.part_list import Part, list_parts
from tests.conftest import HANG_S
from tests.factories.partitions import BY, expected, sha256, write_partition

pytestmark = pytest.mark.slow

# Both masters in one process, so that Java starts once.
SPARK = """
import json, os, sys
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.jobs.engines import spark_session
from hybrid_batch.jobs.evaluate_spark import evaluate
from hybrid_batch.jobs.input.part_list import list_parts
reports = {}
for master in ("local[1]", "local[2]"):
    spark_session.LOCAL_SPARK_CONF["spark.master"] = master
    with spark_session.spark_session() as spark:
        assert spark.sparkContext.master == master
        reports[master] = [to_json(evaluate(list_parts([run]).parts, ["batch", "model"])) for run in sys.argv[1:]]
print(json.dumps(reports))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("log")
    return [write_partition(str(folder / f"run={seed}"), seed) for seed in range(50)]


def shuffled(run: str) -> list[Part]:
    parts = list_parts([run]).parts
    return random.Random(run[-2:]).sample(parts, len(parts))


def test_threads(runs: list[str]) -> None:
    assert len({len(shuffled(run)) for run in runs}) > 5
    assert {sha256(to_json(evaluate_inline.evaluate(shuffled(run), BY))) for run in runs} == {expected()}


@pytest.mark.parametrize(
    ("runner", "some"), [("inline", slice(0, 50, 3)), ("local", slice(1, 3)), ("spark", slice(3, 4))]
)
def test_mrjob(runner: str, some: slice, runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    reports = [evaluate_mrjob.evaluate(shuffled(run), BY, runner=runner) for run in runs[some]]
    assert {sha256(to_json(report)) for report in reports} == {expected()}


def test_spark(runs: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPARK, *runs[::7]], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert done.returncode == 0, done.stderr
    for reports in json.loads(done.stdout).values():
        assert [sha256(report) for report in reports] == [expected()] * 8
