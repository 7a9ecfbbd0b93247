"""The tails that a benchmark can measure, opened so that their first answer is as cold as possible."""

import re
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass

from hybrid_batch.data.aws.aws_client import AwsCall, AwsClient
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, TailRefused, TailUnreachable
from hybrid_batch.inference.benchmark.load.server import start_server
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime, open_runtime
from hybrid_batch.inference.protocol.transport import Request
from hybrid_batch.inference.tails import LOCAL, Tail, check_address, open_tail, tail_kind
from hybrid_batch.inference.tails.aws_lambda import SCHEME, invocation_payload
from hybrid_batch.inference.tails.settings import TailSettings

SERVE = "serve"
# The time of the first answer includes, beside the answer itself:
COMPILE = "compile"  # compiling the tail, with an empty cache; the libraries are loaded
PROCESS = "process"  # starting the server's process, and compiling with an empty cache
START = "start"  # starting an environment, as reported by Lambda's log
RUNNING = "running"  # nothing, as reported by Lambda's log: the environment was running
UNKNOWN = "unknown"  # Lambda's log does not report a start
CONNECTION = "connection"  # a new connection; whether the tail was cold is not known

_REPORT = re.compile(r"^REPORT RequestId:.*$", re.MULTILINE)
_INIT = re.compile(r"Init Duration: ([0-9.]+) ms")
_METADATA_REQUEST = Request("GET", "/v2")


@dataclass(frozen=True, slots=True)
class BenchmarkContext:
    """What opening a tail needs."""

    bundle: Bundle
    runtime: Runtime
    settings: TailSettings


@dataclass(frozen=True, slots=True)
class OpenTarget:
    """A tail that has not received an image yet. The first answer is timed from `began_ns`; `cold_includes` is what
    that time includes, one of the words above."""

    tail: Tail
    began_ns: int
    cold_includes: str


def open_target(address: str, context: BenchmarkContext) -> AbstractContextManager[OpenTarget]:
    """Open the tail at an address; for `serve`, a server started for it. Entering raises TailUnreachable, TailRefused
    and the errors of `open_tail`."""
    return _OPENERS.get(address.partition(":")[0], _open_remote)(address, context)


def check_target(address: str) -> str:
    """Return the address. Raises WrongUsage if no kind of tail has such an address."""
    return address if address == SERVE else check_address(address)


def is_paid(address: str) -> bool:
    """Whether requests to this tail may cost money."""
    return address not in (LOCAL, SERVE) and not address.startswith("http://")


def supports_cut(address: str, bundle: Bundle, cut_id: str) -> bool:
    """Whether the tail can compute from this cut."""
    return cut_id == bundle.input_cut.id or address == SERVE or not tail_kind(address).accepts_only_images


def probe_cold_start(address: str) -> bool | None:
    """Invoke the function at `lambda:NAME` for its metadata: True if Lambda had to start an environment, False if one
    was running, None if the log does not report either. Raises TailUnreachable and TailRefused.

    A cold start can be forced only by deploying again, or by waiting until Lambda stops an idle environment; the
    benchmark does neither, but reads from the log whether one happened."""
    function = address.removeprefix(SCHEME)
    region = function.split(":")[3] if function.startswith("arn:") else None
    parameters = {"FunctionName": function, "Payload": invocation_payload(_METADATA_REQUEST), "LogType": "Tail"}
    try:
        with closing(AwsClient.open({"lambda": "Lambda"}, "docs/cloud.md", region=region)) as client:
            answer = client.call_once(AwsCall("lambda", "invoke", parameters))
            answer["Payload"].close()
    except AwsRefused as error:
        raise TailRefused(str(error)) from error
    except AwsUnreachable as error:
        raise TailUnreachable(str(error)) from error
    return parse_cold_start(answer.get("LogResult", ""))


def parse_cold_start(log: str) -> bool | None:
    """Whether the last report in a log (base64) has an initialization; None without a report."""
    try:
        reports = _REPORT.findall(b64decode(log).decode(errors="replace"))
    except ValueError:
        return None
    return bool(_INIT.search(reports[-1])) if reports else None


@contextmanager
def _open_local(address: str, context: BenchmarkContext) -> Iterator[OpenTarget]:
    began = time.perf_counter_ns()
    with open_tail(address, context.bundle, open_runtime(context.runtime.name, context.bundle, cached=False)) as tail:
        yield OpenTarget(tail, began, COMPILE)


@contextmanager
def _open_server(_: str, context: BenchmarkContext) -> Iterator[OpenTarget]:
    bundle = context.bundle
    began = time.perf_counter_ns()
    with start_server(bundle) as server, open_tail(server.url, bundle, context.runtime, context.settings) as tail:
        yield OpenTarget(tail, began, PROCESS)


@contextmanager
def _open_lambda(address: str, context: BenchmarkContext) -> Iterator[OpenTarget]:
    with open_tail(address, context.bundle, context.runtime, context.settings) as tail:
        began = time.perf_counter_ns()
        yield OpenTarget(tail, began, {True: START, False: RUNNING, None: UNKNOWN}[probe_cold_start(address)])


@contextmanager
def _open_remote(address: str, context: BenchmarkContext) -> Iterator[OpenTarget]:
    began = time.perf_counter_ns()
    with open_tail(address, context.bundle, context.runtime, context.settings) as tail:
        yield OpenTarget(tail, began, CONNECTION)


_OPENERS: dict[str, Callable[[str, BenchmarkContext], AbstractContextManager[OpenTarget]]] = {
    LOCAL: _open_local,
    SERVE: _open_server,
    "lambda": _open_lambda,
}
