"""Jobs on EMR, executed for real by the double, write the bytes that every engine writes, however the records lie."""

import uuid

import pytest

from hybrid_batch.cli import main as command
from tests.emr.places import new, serverless, standing
from tests.emr_double import EmrDouble
from tests.made_partitions import BY, expected, sha256, write_partition

PLACES = {
    "steps with mrjob": (standing, ["--engine", "mrjob"], (50, 51, 52)),
    "a new cluster with spark": (new, [], (53,)),
    "serverless with spark": (serverless, [], (54,)),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_report_is_the_same(place: str, double: EmrDouble, capfd: pytest.CaptureFixture[str]) -> None:
    where, options, seeds = PLACES[place]
    options = [*where(double), *options, *(f"--by={column}" for column in BY), "--wait", "--poll", "0.1", "--json"]
    for seed in seeds:
        uri = write_partition(f"s3://emr/partitions/run={uuid.uuid4().hex[:12]}", seed)
        code = command(["emr", "submit", uri, *options])
        out, err = capfd.readouterr()
        assert code == 0, err
        assert sha256(out) == expected()
