"""Whether Lambda had to start an environment for a request: what the end of the request's log says of it.

From outside a cold start can be had only by deploying again or by waiting until Lambda lets go of what stands idle;
nothing here does either. So the function is asked what it serves, before anything else, and its log is believed.
"""

import json
import re
from base64 import b64decode
from contextlib import closing

from hybrid_batch.data.aws.aws_client import Api, Call
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, TailRefused, TailUnreachable
from hybrid_batch.inference.tails.aws_lambda import SCHEME

_REPORT = re.compile(r"^REPORT RequestId:.*$", re.MULTILINE)
_INIT = re.compile(r"Init Duration: ([0-9.]+) ms")
_EVENT = {
    "version": "2.0",
    "rawPath": "/v2",
    "requestContext": {"http": {"method": "GET", "path": "/v2"}},
    "headers": {},
    "isBase64Encoded": False,
}


def ask_lambda(address: str) -> bool | None:
    """Ask the function at `lambda:NAME`: True when it had to be started, False when not, None when its log does not
    say. Raises TailUnreachable and TailRefused."""
    function = address.removeprefix(SCHEME)
    region = function.split(":")[3] if function.startswith("arn:") else None
    parameters = {"FunctionName": function, "Payload": json.dumps(_EVENT).encode(), "LogType": "Tail"}
    try:
        with closing(Api.open({"lambda": "Lambda"}, "docs/cloud.md", region=region)) as api:
            answer = api.send(Call("lambda", "invoke", parameters))
            answer["Payload"].close()
    except AwsRefused as error:
        raise TailRefused(str(error)) from error
    except AwsUnreachable as error:
        raise TailUnreachable(str(error)) from error
    return read_start(answer.get("LogResult", ""))


def read_start(log: str) -> bool | None:
    """From the end of a log in base64: whether its last report has an initialisation; None without a report."""
    try:
        reports = _REPORT.findall(b64decode(log).decode(errors="replace"))
    except ValueError:
        return None
    return bool(_INIT.search(reports[-1])) if reports else None
