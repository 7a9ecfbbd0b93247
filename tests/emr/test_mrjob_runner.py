"""mrjob's own EMR runner with `emr/mrjob.conf` and the archives of `emr package` adds a step to the double."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hybrid_batch.cli import main as command
from hybrid_batch.evaluation.output.canonical_json import to_json
from hybrid_batch.jobs import evaluate_inline as inline
from hybrid_batch.jobs.input.part_list import list_parts
from tests.conftest import HANG_S
from tests.emr.targets import LOGS
from tests.emr_double import EmrDouble

ROOT = Path(__file__).parents[2]


def test_the_report_is_that_of_the_inline_engine(
    double: EmrDouble, make_run: Callable[..., str], aws: str, tmp_path: Path
) -> None:
    uri = make_run()
    shutil.copy(ROOT / "emr" / "mrjob.conf", tmp_path)
    assert command(["emr", "package", "--arch", "x86_64", "--output", str(tmp_path)]) == 0
    cluster = double.add_cluster(LOGS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hybrid_batch.jobs.evaluate_mrjob", "-r", "emr", "--conf-path", "mrjob.conf"),
            *("--cluster-id", cluster.id, "--region", "us-east-1", "--cloud-tmp-dir", "s3://emr/tmp/"),
            *("--emr-endpoint", double.url, "--s3-endpoint", aws, "--check-cluster-every", "0.1"),
            *("--cloud-fs-sync-secs", "0", "-q", uri),
        ],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = to_json(inline.evaluate(list_parts([uri]).parts))
    assert hashlib.sha256(done.stdout.strip().encode()).hexdigest() == hashlib.sha256(expected.encode()).hexdigest()
    assert cluster.steps[0].config["HadoopJarStep"]["Args"][0] == "hadoop-streaming"
