"""The EMR double, with the local AWS for S3."""

import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from hybrid_batch.data.log.records import Record
from hybrid_batch.emr.packaging.archives import PYTHON_VERSION, requirements
from tests.emr.wheelhouse import FETCHED, RUNNING, make_wheelhouse
from tests.emr_double import EmrDouble
from tests.factories.records import random_records, write_run

RECORDS = random_records(300, ["cat", "dog", 'tab\t"line\n', "é"])


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[None]:
    """Let pip find the wheels of the environment on this machine only."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("the libraries of these tests are for Linux on x86_64")
    if RUNNING == PYTHON_VERSION:
        wheels = make_wheelhouse(tmp_path_factory.mktemp("pip") / "wheels", requirements())
    elif FETCHED.is_dir():
        wheels = FETCHED
    else:
        pytest.skip(f"libraries for EMR's Python {PYTHON_VERSION} are not in {FETCHED}; run `make emr-wheels`")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_NO_INDEX", "1")
        environment.setenv("PIP_FIND_LINKS", str(wheels))
        yield


@pytest.fixture(scope="session")
def running_double(ministack: str, packages: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmrDouble]:
    import boto3

    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    s3 = boto3.client(
        "s3",
        endpoint_url=ministack,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the local AWS takes any
        region_name="us-east-1",
    )
    s3.create_bucket(Bucket="emr")
    environment = keys | {"AWS_ENDPOINT_URL": ministack, "AWS_EC2_METADATA_DISABLED": "true"}
    with EmrDouble(tmp_path_factory.mktemp("machine"), environment, s3).serving() as double:
        yield double


@pytest.fixture
def double(running_double: EmrDouble, aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmrDouble]:
    """The EMR double, with the AWS settings of this process pointing to it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_EMR", running_double.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EMR_SERVERLESS", running_double.url)
    yield running_double
    running_double.reset()


@pytest.fixture
def make_run(double: EmrDouble) -> Callable[..., str]:
    """A function that writes a new run to the local S3 and returns its URI."""

    def make(records: Sequence[Record] = RECORDS, shard_size: int = 70) -> str:
        uri = f"s3://emr/log/run={uuid.uuid4().hex[:12]}"
        write_run(uri, records, shard_size)
        return uri

    return make
