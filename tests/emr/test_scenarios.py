"""Whatever goes wrong on EMR ends in the right exit code, in one clear sentence, and without a cluster left."""

import re
from collections.abc import Callable

import pytest

from hybrid_batch import run as command
from tests.emr.scenarios import SCENARIOS
from tests.emr_double import EmrDouble, Fault


@pytest.fixture(scope="session")
def far_bucket(ministack: str) -> None:
    import boto3

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        s3 = boto3.client("s3", endpoint_url=ministack, region_name="eu-west-1")
    s3.create_bucket(Bucket="emr-far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_fails_in_one_sentence_and_leaves_nothing(
    name: str,
    double: EmrDouble,
    far_bucket: None,
    make_run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    scenario = SCENARIOS[name]
    place, uri = scenario.place(double), make_run()
    double.trouble.fate = scenario.fate
    double.trouble.faults.extend(Fault(**vars(fault)) for fault in scenario.faults)
    for variable, value in scenario.environment:
        monkeypatch.setenv(variable, value) if value else monkeypatch.delenv(variable)
    wait = ["--wait", "--poll", "0.02", "--timeout", str(scenario.timeout_s)]
    code = command(["emr", "submit", uri, *place, *wait, *scenario.more])
    out, err = capfd.readouterr()
    (sentence,) = [line for line in err.splitlines() if line.startswith("hybrid-batch: ")]
    assert re.search(scenario.said, sentence), err
    assert (code, out, "Traceback" in err) == (scenario.code, "", False)
    assert err.rstrip().endswith(sentence)
    for made in double.clusters.all.values():
        if made.tags:
            double.clusters.await_end(made)
