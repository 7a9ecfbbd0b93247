"""Faults of requests, and outcomes of jobs."""

import threading
from dataclasses import dataclass, field
from typing import Any


class AwsError(Exception):
    """A response that is an AWS error."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(code, message, status)
        self.code, self.message, self.status = code, message, status


@dataclass
class Fault:
    """An operation fails `times` times. Without `code` the connection is closed; with `executed` this happens after the
    execution. The response waits for `until`."""

    operation: str
    code: str = ""
    message: str = ""
    status: int = 400
    times: int = 1
    executed: bool = False
    until: threading.Event | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of jobs.

    - run: the job is executed.
    - fail: the job ends with `stderr` as its log.
    - never: the job runs until it is cancelled.
    - cancelled: another user cancels the job.
    - stuck: the cluster stays STARTING.
    - bootstrap, capacity: the cluster ends with an error before the job.
    - lost: the cluster ends with an error during the job.

    `without_logs`: no logs are written. `until_polled`: a step ends only after its state RUNNING was requested.
    """

    kind: str = "run"
    stderr: str = ""
    without_logs: bool = False
    until_polled: bool = False


@dataclass
class FaultPlan:
    """The remaining faults, and the outcome of the jobs submitted from now on."""

    faults: list[Fault] = field(default_factory=list)
    outcome: Outcome = Outcome()

    def next_fault(self, operation: str) -> Fault | None:
        for fault in self.faults:
            if fault.operation in (operation, "*") and fault.times > 0:
                fault.times -= 1
                return fault
        return None


Json = dict[str, Any]
