"""Failures on EMR: the fault, and the message and exit code of the command."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.conftest import HANG_S
from tests.emr.targets import LOGS, ROLE, existing, new, serverless
from tests.emr_double import EmrDouble, Fault, Outcome

Target = Callable[[EmrDouble], list[str]]
TRACE = 'Traceback (most recent call last):\n  File "m.py", line 1, in <module>\nMemoryError: no 2 GB\n'
SENTENCE = "hybrid-batch: s3://b/run=x/part-00000.parquet is not a readable Parquet file; remove it.\n"
NOISE = "24/01/01 00:00:00 INFO ShutdownHookManager: Shutdown hook called\n"
ALWAYS = 1000
ENOUGH_S = HANG_S
RUN = Outcome()


@dataclass(frozen=True)
class Scenario:
    """A failing command: the target, the faults, and a regular expression for its message. With a short `timeout_s` the
    clock does not advance before the job is in the state `until`, and then advances by all of it."""

    target: Target
    message: str
    code: int = 1
    outcome: Outcome = RUN
    faults: tuple[Fault, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    timeout_s: float = ENOUGH_S
    until: str = ""


def cluster(**changes: Any) -> Target:
    return lambda double: ["--cluster", double.add_cluster(changes.pop("logs", LOGS), **changes).id]


def ended(double: EmrDouble) -> list[str]:
    ended_cluster = double.add_cluster(LOGS)
    double.clusters.end(ended_cluster, "USER_REQUEST", "Terminated by user request")
    double.clusters.await_end(ended_cluster)
    return ["--cluster", ended_cluster.id]


def application(**changes: str) -> Target:
    return lambda double: ["--serverless", double.add_application(**changes), "--role", ROLE]


def nowhere(_: EmrDouble) -> list[str]:
    return ["--cluster", "j-NOWHERE"]


def always(operation: str, code: str, message: str = "", status: int = 400) -> tuple[Fault, ...]:
    return (Fault(operation, code, message, status, ALWAYS),)


MIXED = {"InstanceGroups": [{"InstanceType": name, "InstanceCount": 1} for name in ("m5.xlarge", "m6g.xlarge")]}
DEAD = "http://127.0.0.1:1"

SCENARIOS = {
    # before the first request
    "no region": Scenario(
        nowhere, "You must specify a region; set AWS_REGION", environment=(("AWS_DEFAULT_REGION", ""),)
    ),
    "no credentials": Scenario(
        nowhere, "AWS credentials are missing; set AWS_ACCESS", environment=(("AWS_ACCESS_KEY_ID", ""),)
    ),
    "expired credentials": Scenario(
        existing, r"AWS credentials have expired .* with Expired", environment=(("AWS_ACCESS_KEY_ID", "EXPIRED"),)
    ),
    "unknown credentials": Scenario(
        existing, r"does not accept the AWS credentials \(Unrec", environment=(("AWS_ACCESS_KEY_ID", "UNKNOWN"),)
    ),
    "denied": Scenario(
        existing,
        r"denies describe_cluster \(not yours\).*policy\.json",
        faults=always("*", "AccessDeniedException", "not yours"),
    ),
    "no server": Scenario(
        nowhere, "does not respond to describe_cluster", environment=(("AWS_ENDPOINT_URL_EMR", DEAD),)
    ),
    "throttled without end": Scenario(
        existing,
        "rejects describe_cluster with ThrottlingException after all retries",
        faults=always("*", "ThrottlingException"),
    ),
    "EMR is broken": Scenario(
        existing,
        r"fails to execute describe_cluster \(InternalFailure oh",
        faults=always("*", "InternalFailure", "oh", 500),
    ),
    "connections are cut": Scenario(existing, "does not respond to describe_cluster", faults=always("*", "")),
    # targets that do not exist or do not fit
    "no such cluster": Scenario(nowhere, "'j-NOWHERE' is not valid; check the name and AWS_REGION"),
    "a cluster of another region": Scenario(
        existing, "EMR in eu-west-1 cannot find", environment=(("AWS_DEFAULT_REGION", "eu-west-1"),)
    ),
    "a cluster that has ended": Scenario(
        ended, r"is in state TERMINATED; choose a running one or use --create-cluster\.$"
    ),
    "an old cluster": Scenario(
        cluster(ReleaseLabel="emr-6.15.0"), r"emr-6\.15\.0 has no Python 3\.11; use emr-7\.9\.0", 2
    ),
    "a cluster of another release": Scenario(
        existing, r"The target runs emr-7\.9\.0, not emr-7\.0\.0; omit --release", 2, options=("--release", "emr-7.0.0")
    ),
    "a cluster without Spark": Scenario(
        cluster(Applications=[{"Name": "Hadoop"}]), r"lacks Spark \(installed: Hadoop\); use the other --engine", 2
    ),
    "a cluster of two architectures": Scenario(
        cluster(Instances=MIXED | {"KeepJobFlowAliveWhenNoSteps": True}),
        "has instances of both architectures; choose one with",
    ),
    "a cluster that shuts down": Scenario(
        existing,
        "rejects add_job_flow_steps: shutting down",
        faults=always("AddJobFlowSteps", "ValidationException", "shutting down"),
    ),
    "no such application": Scenario(
        lambda _: ["--serverless", "00nowhere0000000", "--role", ROLE], "00nowhere0000000 does not exist"
    ),
    "an application of Hive": Scenario(application(type="Hive"), r"runs Hive, not Spark; choose another\.$", 2),
    "an application that is gone": Scenario(
        application(state="TERMINATED"), r"is in state TERMINATED; choose another\.$"
    ),
    "an application that stops": Scenario(application(state="STOPPING"), "rejects start_job_run: .* is STOPPING"),
    "a role that may not be passed": Scenario(
        lambda double: ["--serverless", double.add_application(), "--role", ROLE + "Admin"], "iam:PassRole"
    ),
    "roles that may not be passed": Scenario(new, "iam:PassRole", options=("--service-role", "Admin")),
    "a release that does not exist": Scenario(
        new,
        "rejects run_job_flow: no emr-7.99.0",
        options=("--release", "emr-7.99.0"),
        faults=always("RunJobFlow", "ValidationException", "no emr-7.99.0"),
    ),
    "an old release": Scenario(
        new, r"emr-6\.9\.0 has no Python 3\.11; use emr-7\.9\.0", 2, options=("--release", "emr-6.9.0")
    ),
    "a bucket of another region": Scenario(
        new,
        "Bucket 'emr-far' is in eu-west-1 but EMR runs in us-east-1; set AWS_REGION=",
        options=("--workspace", "s3://emr-far/w"),
    ),
    "no such bucket": Scenario(new, "bucket 'emr-none' does not exist", options=("--workspace", "s3://emr-none/w")),
    # jobs that fail
    "a part that cannot be read": Scenario(
        existing,
        "ended FAILED .*: s3://b/run=x/part-00000.parquet is not a readable",
        outcome=Outcome("fail", SENTENCE + NOISE),
    ),
    "a Python error": Scenario(
        existing, "ended FAILED .*: MemoryError: no 2 GB", outcome=Outcome("fail", TRACE + NOISE)
    ),
    "no error in the container": Scenario(
        existing, "SparkException: Application .* failed status", outcome=Outcome("fail")
    ),
    "missing logs": Scenario(
        existing, "its logs contain no reason, or are not in S3 yet", outcome=Outcome("fail", TRACE, without_logs=True)
    ),
    "a cluster without logs": Scenario(
        cluster(logs=None), "its logs contain no reason, or are not in S3 yet", outcome=Outcome("fail", TRACE)
    ),
    "cancelled by another user": Scenario(
        existing, r"ended CANCELLED \(Cancelled by user\)", outcome=Outcome("cancelled")
    ),
    "the machines are lost": Scenario(
        existing, "cluster TERMINAT.*INSTANCE_FAILURE: All core", outcome=Outcome("lost")
    ),
    "a job that never ends": Scenario(
        existing,
        r"did not end within 3 s \(last known state: RUNNING\) and was cancelled\.$",
        outcome=Outcome("never"),
        timeout_s=3,
        until="RUNNING",
    ),
    "credentials expire during the wait": Scenario(
        existing,
        r"credentials have expired .* with Expired",
        outcome=Outcome("never"),
        faults=always("DescribeStep", "ExpiredTokenException"),
    ),
    "EMR stops responding": Scenario(
        existing,
        r"did not end within 1 s \(EMR reported no state\)",
        faults=always("DescribeStep", "ThrottlingException"),
        outcome=Outcome("fail"),
        timeout_s=1,
    ),
    "a new cluster: the job fails": Scenario(
        new, "ended FAILED .*: MemoryError: no 2 GB", outcome=Outcome("fail", TRACE)
    ),
    "a new cluster: no machines": Scenario(new, "INSTANCE_FAILURE: Insufficient capacity", outcome=Outcome("capacity")),
    "a new cluster: no bootstrap": Scenario(new, "BOOTSTRAP_FAILURE: bootstrap action 1", outcome=Outcome("bootstrap")),
    "a new cluster: another Python": Scenario(new, "BOOTSTRAP_FAILURE", options=("--python", "/bin/false")),
    "a new cluster: never starts": Scenario(
        new,
        r"did not end within 1 s \(last known state: PENDING, cluster STARTING\) and was cancelled\.$",
        outcome=Outcome("stuck"),
        timeout_s=1,
    ),
    "a new cluster: never ends": Scenario(new, "and was cancelled", outcome=Outcome("never"), timeout_s=1),
    "a new cluster: lost": Scenario(new, "INSTANCE_FAILURE: All core", outcome=Outcome("lost")),
    "a new cluster: credentials expire during the wait": Scenario(
        new,
        r"credentials have expired .* with Expired",
        outcome=Outcome("never"),
        faults=always("DescribeStep", "ExpiredTokenException"),
    ),
    "a job run fails": Scenario(
        serverless, "ended FAILED .*: MemoryError: no 2 GB", outcome=Outcome("fail", TRACE + NOISE)
    ),
    "a job run is cancelled": Scenario(serverless, r"ended CANCELLED \(Cancelled by", outcome=Outcome("cancelled")),
    "a job run never ends": Scenario(
        serverless,
        r"did not end within 3 s \(last known state: RUNNING\) and was cancelled\.$",
        outcome=Outcome("never"),
        timeout_s=3,
        until="RUNNING",
    ),
}
