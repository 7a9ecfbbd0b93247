"""What can go wrong: answers that are faults, and fates of jobs."""

import threading
from dataclasses import dataclass, field
from typing import Any


class AwsError(Exception):
    """An answer that is an AWS error."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(code, message, status)
        self.code, self.message, self.status = code, message, status


@dataclass
class Fault:
    """An operation fails `times` times; without `code` the connection is cut, with `acts` when the deed is done.
    `until` is what the answer waits for."""

    operation: str
    code: str = ""
    message: str = ""
    status: int = 400
    times: int = 1
    executed: bool = False
    until: threading.Event | None = None


@dataclass(frozen=True)
class Outcome:
    """What becomes of jobs.

    run: they are executed; fail: they end with `stderr` as their log; never: they run until cancelled; stuck: the
    cluster stays STARTING; bootstrap, capacity, lost: the cluster ends with an error before, before, or during
    the job; cancelled: somebody else cancels. `quiet`: no logs are written. `shown`: a step does not end before
    somebody was told that it runs.
    """

    kind: str = "run"
    stderr: str = ""
    without_logs: bool = False
    until_polled: bool = False


@dataclass
class FaultPlan:
    """The faults still to come, and the fate of the jobs submitted from now on."""

    faults: list[Fault] = field(default_factory=list)
    outcome: Outcome = Outcome()

    def next_fault(self, operation: str) -> Fault | None:
        for fault in self.faults:
            if fault.operation in (operation, "*") and fault.times > 0:
                fault.times -= 1
                return fault
        return None


Json = dict[str, Any]
