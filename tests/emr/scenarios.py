"""Everything that can go wrong on EMR: what is wrong, and what the command must say of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.conftest import HANG_S
from tests.emr.places import LOGS, ROLE, new, serverless, standing
from tests.emr_double import EmrDouble, Fate, Fault

Places = Callable[[EmrDouble], list[str]]
TRACE = 'Traceback (most recent call last):\n  File "m.py", line 1, in <module>\nMemoryError: no 2 GB\n'
SENTENCE = "hybrid-batch: s3://b/run=x/part-00000.parquet is not a readable Parquet file; remove it.\n"
NOISE = "24/01/01 00:00:00 INFO ShutdownHookManager: Shutdown hook called\n"
ALWAYS = 1000
ENOUGH_S = HANG_S
RUN = Fate()


@dataclass(frozen=True)
class Scenario:
    """A command that fails: where it submits, what is wrong, and what it must say. Of `timeout_s` nothing passes before
    the job is in the state `until`, and then all of it at once."""

    place: Places
    said: str
    code: int = 1
    fate: Fate = RUN
    faults: tuple[Fault, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    more: tuple[str, ...] = ()
    timeout_s: float = ENOUGH_S
    until: str = ""


def cluster(**changes: Any) -> Places:
    return lambda double: ["--cluster", double.add_cluster(changes.pop("logs", LOGS), **changes).id]


def ended(double: EmrDouble) -> list[str]:
    made = double.add_cluster(LOGS)
    double.clusters.end(made, "USER_REQUEST", "Terminated by user request")
    double.clusters.await_end(made)
    return ["--cluster", made.id]


def application(**changes: str) -> Places:
    return lambda double: ["--serverless", double.add_application(**changes), "--role", ROLE]


def nowhere(_: EmrDouble) -> list[str]:
    return ["--cluster", "j-NOWHERE"]


def always(operation: str, code: str, message: str = "", status: int = 400) -> tuple[Fault, ...]:
    return (Fault(operation, code, message, status, ALWAYS),)


MIXED = {"InstanceGroups": [{"InstanceType": name, "InstanceCount": 1} for name in ("m5.xlarge", "m6g.xlarge")]}
DEAD = "http://127.0.0.1:1"

SCENARIOS = {
    # before anything is asked for
    "no region": Scenario(
        nowhere, "You must specify a region; set AWS_REGION", environment=(("AWS_DEFAULT_REGION", ""),)
    ),
    "no credentials": Scenario(nowhere, "no AWS credentials; set AWS_ACCESS", environment=(("AWS_ACCESS_KEY_ID", ""),)),
    "expired credentials": Scenario(
        standing, r"AWS credentials have expired .* with Expired", environment=(("AWS_ACCESS_KEY_ID", "EXPIRED"),)
    ),
    "unknown credentials": Scenario(
        standing, r"does not accept the AWS credentials \(Unrec", environment=(("AWS_ACCESS_KEY_ID", "who"),)
    ),
    "denied": Scenario(
        standing,
        r"denies describe_cluster \(not yours\).*policy\.json",
        faults=always("*", "AccessDeniedException", "not yours"),
    ),
    "nobody answers": Scenario(
        nowhere, "does not answer describe_cluster", environment=(("AWS_ENDPOINT_URL_EMR", DEAD),)
    ),
    "throttled for ever": Scenario(
        standing, "answers describe_cluster with ThrottlingException however", faults=always("*", "ThrottlingException")
    ),
    "EMR is broken": Scenario(
        standing, r"fails at describe_cluster \(InternalFailure oh", faults=always("*", "InternalFailure", "oh", 500)
    ),
    "connections are cut": Scenario(standing, "does not answer describe_cluster", faults=always("*", "")),
    # places that do not exist or do not fit
    "no such cluster": Scenario(nowhere, "'j-NOWHERE' is not valid; check it and AWS_REGION"),
    "a cluster of another region": Scenario(
        standing, "EMR in eu-west-1 knows no such thing", environment=(("AWS_DEFAULT_REGION", "eu-west-1"),)
    ),
    "a cluster that has ended": Scenario(ended, "is TERMINATED; name one that runs"),
    "an old cluster": Scenario(cluster(ReleaseLabel="emr-6.15.0"), "emr-6.15.0 has no Python 3.11", 2),
    "a cluster of another release": Scenario(
        standing, "runs emr-7.9.0, not the emr-7.0.0", 2, more=("--release", "emr-7.0.0")
    ),
    "a cluster without Spark": Scenario(cluster(Applications=[{"Name": "Hadoop"}]), "has no Spark but Hadoop", 2),
    "a cluster of two processors": Scenario(
        cluster(Instances=MIXED | {"KeepJobFlowAliveWhenNoSteps": True}), "has machines of both processors"
    ),
    "a cluster that shuts down": Scenario(
        standing,
        "refuses add_job_flow_steps: shutting down",
        faults=always("AddJobFlowSteps", "ValidationException", "shutting down"),
    ),
    "no such application": Scenario(
        lambda _: ["--serverless", "00nowhere0000000", "--role", ROLE], "00nowhere0000000 does not exist"
    ),
    "an application of Hive": Scenario(application(type="Hive"), "runs Hive, not Spark", 2),
    "an application that is gone": Scenario(application(state="TERMINATED"), "is TERMINATED; name one that stands"),
    "an application that stops": Scenario(application(state="STOPPING"), "refuses start_job_run: .* is STOPPING"),
    "a role that may not be given": Scenario(
        lambda double: ["--serverless", double.add_application(), "--role", ROLE + "Admin"], "iam:PassRole"
    ),
    "roles that may not be given": Scenario(new, "iam:PassRole", more=("--service-role", "Admin")),
    "a release that does not exist": Scenario(
        new,
        "refuses run_job_flow: no emr-7.99.0",
        more=("--release", "emr-7.99.0"),
        faults=always("RunJobFlow", "ValidationException", "no emr-7.99.0"),
    ),
    "an old release": Scenario(new, "emr-6.9.0 has no Python 3.11", 2, more=("--release", "emr-6.9.0")),
    "a bucket of another region": Scenario(
        new, "Bucket 'emr-far' is in eu-west-1 and EMR would work in us-east-1", more=("--workspace", "s3://emr-far/w")
    ),
    "no such bucket": Scenario(new, "there is no bucket 'emr-none'", more=("--workspace", "s3://emr-none/w")),
    # jobs that end badly
    "a part that cannot be read": Scenario(
        standing,
        "ended FAILED .*: s3://b/run=x/part-00000.parquet is not a readable",
        fate=Fate("fail", SENTENCE + NOISE),
    ),
    "a Python error": Scenario(standing, "ended FAILED .*: MemoryError: no 2 GB", fate=Fate("fail", TRACE + NOISE)),
    "no word in the container": Scenario(standing, "SparkException: Application .* failed status", fate=Fate("fail")),
    "logs that never come": Scenario(standing, "its logs do not say why", fate=Fate("fail", TRACE, quiet=True)),
    "a cluster without logs": Scenario(cluster(logs=None), "its logs do not say why", fate=Fate("fail", TRACE)),
    "cancelled by another": Scenario(standing, r"ended CANCELLED \(Cancelled by user\)", fate=Fate("cancelled")),
    "the machines are lost": Scenario(standing, "cluster TERMINAT.*INSTANCE_FAILURE: All core", fate=Fate("lost")),
    "a job that never ends": Scenario(
        standing,
        r"not ended after 3 s \(.*RUNNING\), and was cancelled",
        fate=Fate("never"),
        timeout_s=3,
        until="RUNNING",
    ),
    "credentials expire meanwhile": Scenario(
        standing,
        r"credentials have expired .* with Expired",
        fate=Fate("never"),
        faults=always("DescribeStep", "ExpiredTokenException"),
    ),
    "EMR falls silent": Scenario(
        standing,
        "EMR has not said how it stands",
        faults=always("DescribeStep", "ThrottlingException"),
        fate=Fate("fail"),
        timeout_s=1,
    ),
    "a new cluster: the job fails": Scenario(new, "ended FAILED .*: MemoryError: no 2 GB", fate=Fate("fail", TRACE)),
    "a new cluster: no machines": Scenario(new, "INSTANCE_FAILURE: Insufficient capacity", fate=Fate("capacity")),
    "a new cluster: no bootstrap": Scenario(new, "BOOTSTRAP_FAILURE: bootstrap action 1", fate=Fate("bootstrap")),
    "a new cluster: another Python": Scenario(new, "BOOTSTRAP_FAILURE", more=("--python", "/bin/false")),
    "a new cluster: never starts": Scenario(
        new, r"not ended after 1 s \(.*PENDING, cluster STARTING\), and was cancelled", fate=Fate("stuck"), timeout_s=1
    ),
    "a new cluster: never ends": Scenario(new, "and was cancelled", fate=Fate("never"), timeout_s=1),
    "a new cluster: lost": Scenario(new, "INSTANCE_FAILURE: All core", fate=Fate("lost")),
    "a new cluster: credentials expire meanwhile": Scenario(
        new,
        r"credentials have expired .* with Expired",
        fate=Fate("never"),
        faults=always("DescribeStep", "ExpiredTokenException"),
    ),
    "a job run fails": Scenario(serverless, "ended FAILED .*: MemoryError: no 2 GB", fate=Fate("fail", TRACE + NOISE)),
    "a job run is cancelled": Scenario(serverless, r"ended CANCELLED \(Cancelled by", fate=Fate("cancelled")),
    "a job run never ends": Scenario(
        serverless, "not ended after 3 s .*RUNNING.*was cancelled", fate=Fate("never"), timeout_s=3, until="RUNNING"
    ),
}
