"""A cluster on EC2 and its steps: their requests and states."""

import queue
import threading
import time
from dataclasses import dataclass, field

from tests.emr_double.faults import Json, Outcome


@dataclass
class Step:
    """One step and its state."""

    id: str
    config: Json
    outcome: Outcome
    state: str = "PENDING"
    reason: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)
    polled: threading.Event = field(default_factory=threading.Event)
    created: float = field(default_factory=time.time)

    def describe(self) -> Json:
        if self.state == "RUNNING":
            self.polled.set()
        jar = self.config["HadoopJarStep"]
        status: Json = {"State": self.state, "Timeline": {"CreationDateTime": self.created}}
        if self.state == "FAILED":
            status["FailureDetails"] = {"Reason": "Unknown Error."}
        status["StateChangeReason"] = {"Message": self.reason} if self.reason else {}
        return {
            "Id": self.id,
            "Name": self.config["Name"],
            "Config": {"Jar": jar["Jar"], "Args": jar["Args"], "Properties": {}},
            "ActionOnFailure": self.config["ActionOnFailure"],
            "Status": status,
        }


@dataclass
class Cluster:
    """One cluster and its state."""

    id: str
    region: str
    request: Json
    outcome: Outcome
    state: str = "STARTING"
    code: str = ""
    reason: str = ""
    failed: bool = False
    steps: list[Step] = field(default_factory=list)
    pending: "queue.Queue[Step | None]" = field(default_factory=queue.Queue)
    ending: threading.Event = field(default_factory=threading.Event)
    history: list[str] = field(default_factory=list)
    created: float = field(default_factory=time.time)

    @property
    def is_temporary(self) -> bool:
        return self.tags.get("hybrid-batch", "").startswith("job-")

    @property
    def tags(self) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.request.get("Tags", ())}

    def enter(self, state: str) -> None:
        self.state = state
        self.history.append(state)

    def describe(self) -> Json:
        status: Json = {"State": self.state, "Timeline": {"CreationDateTime": self.created}}
        status["StateChangeReason"] = {"Code": self.code, "Message": self.reason} if self.code else {}
        request = self.request
        found = {
            "Id": self.id,
            "Name": request["Name"],
            "Status": status,
            "ReleaseLabel": request["ReleaseLabel"],
            "Applications": request.get("Applications", []),
            "Tags": request.get("Tags", []),
            "MasterPublicDnsName": "ip-10-0-0-1.ec2.internal",
            "AutoTerminate": not request["Instances"]["KeepJobFlowAliveWhenNoSteps"],
        }
        if request.get("LogUri"):
            found["LogUri"] = request["LogUri"].replace("s3://", "s3n://")
        return found
