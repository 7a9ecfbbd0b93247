"""The EMR Serverless API: applications, and job runs with a thread each that passes through their states."""

import gzip
import shlex
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.emr_double.faults import AwsError, FaultPlan, Json, Outcome
from tests.emr_double.machine import Completed, Machine
from tests.emr_double.policy import ACCOUNT, TAGGED, Policy, resource_tags, role

DWELL_S = 0.03


@dataclass
class JobRun:
    """One job run and its state."""

    id: str
    application: str
    request: Json
    outcome: Outcome
    state: str = "SUBMITTED"
    details: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)
    history: list[str] = field(default_factory=lambda: ["SUBMITTED"])
    created: float = field(default_factory=time.time)

    def enter(self, state: str, details: str = "") -> None:
        self.state, self.details = state, details
        self.history.append(state)

    def describe(self) -> Json:
        arn = f"arn:aws:emr-serverless:us-east-1:{ACCOUNT}:/applications/{self.application}/jobruns/{self.id}"
        same = {name: self.request[name] for name in ("name", "jobDriver", "configurationOverrides")}
        return same | {
            "applicationId": self.application,
            "jobRunId": self.id,
            "id": self.id,
            "arn": arn,
            "createdBy": "arn:aws:iam::123456789012:user/test",
            "createdAt": self.created,
            "updatedAt": self.created,
            "executionRole": self.request["executionRoleArn"],
            "state": self.state,
            "stateDetails": self.details,
            "releaseLabel": "emr-7.9.0",
        }


class Serverless:
    """The operations of the API by name, called with the region, the path parameters and the body of the request."""

    def __init__(self, machine: Machine, trouble: FaultPlan, policy: Policy) -> None:
        self.machine, self.fault_plan, self.policy = machine, trouble, policy
        self.applications: dict[str, Json] = {}
        self.runs: dict[str, JobRun] = {}
        self.tokens: dict[str, JobRun] = {}

    def GetApplication(self, region: str, request: Json) -> Json:  # noqa: N802
        return {"application": self._application(region, request, "GetApplication")}

    def StartJobRun(self, region: str, request: Json) -> Json:  # noqa: N802
        application = self._application(region, request, "StartJobRun")
        self.policy.require("iam:PassRole", role(request["executionRoleArn"]), service="emr-serverless.amazonaws.com")
        if application["state"] in ("STOPPING", "TERMINATED"):
            raise AwsError(
                "ConflictException", f"Application {application['applicationId']} is {application['state']}", 409
            )
        token = request["clientToken"]
        if token not in self.tokens:
            run = JobRun(f"{len(self.runs):016d}", request["applicationId"], request, self.fault_plan.outcome)
            self.runs[run.id] = self.tokens[token] = run
            threading.Thread(target=self._live, args=(run,), daemon=True).start()
        run = self.tokens[token]
        return {"applicationId": run.application, "jobRunId": run.id, "arn": run.describe()["arn"]}

    def GetJobRun(self, region: str, request: Json) -> Json:  # noqa: N802
        return {"jobRun": self._run(region, request, "GetJobRun").describe()}

    def ListJobRuns(self, region: str, request: Json) -> Json:  # noqa: N802
        self._application(region, request, "ListJobRuns")
        states = request.get("states", [])
        found = [run for run in self.runs.values() if not states or run.state in states]
        return {"jobRuns": [run.describe() for run in found if run.application == request["applicationId"]]}

    def CancelJobRun(self, region: str, request: Json) -> Json:  # noqa: N802
        run = self._run(region, request, "CancelJobRun")
        run.enter("CANCELLING")
        run.cancel.set()
        return {"applicationId": run.application, "jobRunId": run.id}

    def _live(self, run: JobRun) -> None:
        for state in ("PENDING", "SCHEDULED", "RUNNING"):
            time.sleep(DWELL_S)
            if run.cancel.is_set():
                return run.enter("CANCELLED", "Cancelled by user")
            run.enter(state)
        try:
            done = self._execute(run)
        except Exception as error:  # an error of the double itself must reach the test
            done = Completed(1, f"{type(error).__name__}: {error}")
        if not run.outcome.without_logs:
            self._log(run, done)
        if run.cancel.is_set():
            return run.enter("CANCELLED", "Cancelled by user")
        if done.status:
            return run.enter("FAILED", f"Job failed, please check complete logs. ExitCode: {done.status}.")
        return run.enter("SUCCESS")

    def _execute(self, run: JobRun) -> Completed:
        if run.outcome.kind == "fail":
            return Completed(1, run.outcome.stderr)
        if run.outcome.kind == "never":
            run.cancel.wait()
            return Completed(143, "")
        if run.outcome.kind == "cancelled":
            run.cancel.set()
            return Completed(143, "")
        submit = run.request["jobDriver"]["sparkSubmit"]
        words = shlex.split(submit["sparkSubmitParameters"])
        assert words[::2] == ["--conf"] * (len(words) // 2)
        settings = dict(word.split("=", 1) for word in words[1::2])
        driver = "spark.emr-serverless.driverEnv."
        return self.machine.spark(settings, submit["entryPoint"], submit["entryPointArguments"], driver, run.cancel)

    def _log(self, run: JobRun, done: Completed) -> None:
        monitoring = run.request["configurationOverrides"]["monitoringConfiguration"]["s3MonitoringConfiguration"]
        bucket, _, prefix = monitoring["logUri"].removeprefix("s3://").partition("/")
        for name, text in (("stderr", done.stderr), ("stdout", "")):
            key = f"{prefix.rstrip('/')}/applications/{run.application}/jobs/{run.id}/SPARK_DRIVER/{name}.gz"
            self.machine.s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(text.encode()))

    def _application(self, region: str, request: Json, operation: str) -> Any:
        name = request["applicationId"]
        found = self.applications.get(name)
        if "JobRun" not in operation or operation in ("StartJobRun", "ListJobRuns"):
            arn = f"arn:aws:emr-serverless:{region}:{ACCOUNT}:/applications/{name}"
            self.policy.require(f"emr-serverless:{operation}", arn, resource_tags((found or {}).get("tags", TAGGED)))
        if found is None or not found["arn"].startswith(f"arn:aws:emr-serverless:{region}:"):
            raise AwsError("ResourceNotFoundException", f"Application {name} does not exist.", 404)
        return found

    def _run(self, region: str, request: Json, operation: str) -> JobRun:
        self._application(region, request, operation)
        arn = f"arn:aws:emr-serverless:{region}:{ACCOUNT}:/applications/{request['applicationId']}/jobruns/r"
        self.policy.require(f"emr-serverless:{operation}", arn)
        run = self.runs.get(request["jobRunId"])
        if run is None:
            raise AwsError("ResourceNotFoundException", f"JobRun {request['jobRunId']} does not exist.", 404)
        return run
