"""The HTTP server on 127.0.0.1: the JSON protocol of EMR and the REST paths of EMR Serverless."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.conftest import HANG_S
from tests.emr_double.cluster import Cluster
from tests.emr_double.clusters import Clusters
from tests.emr_double.faults import AwsError, FaultPlan, Json, Outcome
from tests.emr_double.machine import Machine
from tests.emr_double.policy import ACCOUNT, TAGGED, Policy
from tests.emr_double.serverless import Serverless

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/")
_ROUTES = [
    ("POST", re.compile(r"/applications/(?P<applicationId>[^/]+)/jobruns"), "StartJobRun"),
    ("GET", re.compile(r"/applications/(?P<applicationId>[^/]+)/jobruns"), "ListJobRuns"),
    ("GET", re.compile(r"/applications/(?P<applicationId>[^/]+)/jobruns/(?P<jobRunId>[^/]+)"), "GetJobRun"),
    ("DELETE", re.compile(r"/applications/(?P<applicationId>[^/]+)/jobruns/(?P<jobRunId>[^/]+)"), "CancelJobRun"),
    ("GET", re.compile(r"/applications/(?P<applicationId>[^/]+)"), "GetApplication"),
]


class EmrDouble:
    """Both services at `url`; `requests` lists the names of the requested operations in order."""

    def __init__(self, folder: Path, environment: dict[str, str], s3: Any) -> None:
        machine, self.fault_plan, self.policy = Machine(folder, environment, s3), FaultPlan(), Policy()
        self.clusters = Clusters(machine, self.fault_plan, self.policy)
        self.serverless = Serverless(machine, self.fault_plan, self.policy)
        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"double": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator["EmrDouble"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def reset(self) -> None:
        """Return to the initial state, but keep the unpacked archives of the machine."""
        for cluster in self.clusters.all.values():
            self.clusters.end(cluster, "USER_REQUEST", "Terminated by user request")
        for run in self.serverless.runs.values():
            run.cancel.set()
        self.clusters.all.clear()
        self.serverless.runs.clear()
        self.serverless.tokens.clear()
        self.serverless.applications.clear()
        self.requests.clear()
        self.policy.used.clear()
        self.fault_plan.faults.clear()
        self.fault_plan.outcome = Outcome()

    def add_cluster(self, log_uri: str | None, region: str = "us-east-1", **changes: Any) -> Cluster:
        """Start a cluster of the user."""
        request = {
            "Name": "own",
            "ReleaseLabel": "emr-7.9.0",
            "Applications": [{"Name": "Hadoop"}, {"Name": "Spark"}],
            "Instances": {
                "InstanceGroups": [{"InstanceType": "m5.xlarge", "InstanceCount": 3}],
                "KeepJobFlowAliveWhenNoSteps": True,
            },
            "LogUri": log_uri,
            "Tags": [{"Key": key, "Value": value} for key, value in TAGGED.items()],
        }
        return self.clusters.start(region, request | changes)

    def add_application(self, region: str = "us-east-1", **changes: str) -> str:
        """Add an EMR Serverless application of the user and return its ID."""
        name = f"00app{len(self.serverless.applications):011d}"
        self.serverless.applications[name] = {
            "applicationId": name,
            "arn": f"arn:aws:emr-serverless:{region}:{ACCOUNT}:/applications/{name}",
            "releaseLabel": "emr-7.9.0",
            "type": "Spark",
            "state": "STARTED",
            "architecture": "X86_64",
            "createdAt": 1.7e9,
            "updatedAt": 1.7e9,
            "tags": TAGGED,
        } | changes
        return name


class Handler(BaseHTTPRequestHandler):
    """Handles one request."""

    double: EmrDouble
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, answer, code = 200, self._act(body), ""
        except AwsError as refused:
            status, code = refused.status, refused.code
            answer = {"__type": code, "message": refused.message}
        if answer is None:
            self.close_connection = True
            return
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        if code:
            self.send_header("x-amzn-ErrorType", code)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815

    def _act(self, body: bytes) -> Json | None:
        service, operation, request = self._operation(body)
        self.double.requests.append(operation)
        match = _CREDENTIAL.search(self.headers.get("Authorization", ""))
        if match is None:
            raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
        key, region = match.groups()
        if key == "EXPIRED":
            raise AwsError("ExpiredTokenException", "The security token included in the request is expired")
        if key != "test":
            raise AwsError("UnrecognizedClientException", "The security token included in the request is invalid.")
        fault = self.double.fault_plan.next_fault(operation)
        if fault and fault.until:
            fault.until.wait(HANG_S)
        if fault and not fault.executed:
            if not fault.code:
                return None
            raise AwsError(fault.code, fault.message, fault.status)
        answer: Json = getattr(service, operation)(region, request)
        return None if fault else answer

    def _operation(self, body: bytes) -> tuple[Clusters | Serverless, str, Json]:
        request: Json = json.loads(body) if body else {}
        if target := self.headers.get("X-Amz-Target"):
            return self.double.clusters, target.removeprefix("ElasticMapReduce."), request
        parts = urlsplit(self.path)
        for method, pattern, operation in _ROUTES:
            if method == self.command and (match := pattern.fullmatch(unquote(parts.path))):
                return self.double.serverless, operation, request | match.groupdict() | parse_qs(parts.query)
        raise AwsError("UnknownOperationException", self.path, 404)

    def log_message(self, *_: object) -> None:
        pass
