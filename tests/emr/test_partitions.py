"""Jobs on EMR, executed by the double, write the same bytes as every engine, for any partition of the records."""

import uuid

import pytest

from hybrid_batch.cli import main as command
from tests.emr.targets import existing, new, serverless
from tests.emr_double import EmrDouble
from tests.factories.partitions import BY, expected, sha256, write_partition

TARGETS = {
    "steps with mrjob": (existing, ["--engine", "mrjob"], (50, 51, 52)),
    "a new cluster with spark": (new, [], (53,)),
    "serverless with spark": (serverless, [], (54,)),
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_report_is_the_same(name: str, double: EmrDouble, capfd: pytest.CaptureFixture[str]) -> None:
    target, options, seeds = TARGETS[name]
    options = [
        *target(double),
        *options,
        *(f"--by={column}" for column in BY),
        "--wait",
        "--poll-interval",
        "0.1",
        "--json",
    ]
    for seed in seeds:
        uri = write_partition(f"s3://emr/partitions/run={uuid.uuid4().hex[:12]}", seed)
        code = command(["emr", "submit", uri, *options])
        out, err = capfd.readouterr()
        assert code == 0, err
        assert sha256(out) == expected()
