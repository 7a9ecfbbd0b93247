"""The exchange through AWS Lambda: the function is invoked directly, in the shape in which a gateway would."""

import json
import re
import time
from base64 import b64decode, b64encode
from http import HTTPStatus
from typing import Any

from hybrid_batch.data.aws.aws_client import Api, Call
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, BadFrame, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.transport import NoAnswer, Reply, Request
from hybrid_batch.inference.tails.remote import ServedTail
from hybrid_batch.inference.tails.settings import TailSettings

SCHEME = "lambda:"
PAYLOAD_BYTES = (6 << 20) - 1  # AWS says both "limit 6291456 bytes" and "must be smaller than 6291456 bytes"
_AROUND_BYTES = 1 << 16  # of a reply's JSON around its body
_SEND_S = 30  # for 6 MiB, over a link of 1.7 Mbit/s
_NAME = re.compile(r"[\w-]{1,64}(?::(?:\$LATEST|[\w-]{1,128}))?", re.ASCII)
_ARN = re.compile(r"arn:aws[a-z-]*:lambda:([a-z0-9-]+):\d{12}:function:" + _NAME.pattern, re.ASCII)
_STARTING = {"ResourceConflictException", "ResourceNotReadyException"}


class LambdaExchange:
    """See Exchange. As many invocations run at once as there are threads that ask."""

    def __init__(self, address: str, settings: TailSettings | None = None) -> None:
        settings = settings or TailSettings()
        self.name = address
        self._function = address.removeprefix(SCHEME)
        arn = _ARN.fullmatch(self._function)
        if not arn and not _NAME.fullmatch(self._function):
            raise WrongUsage(f"{address!r} names no function; write lambda:NAME, lambda:NAME:ALIAS or lambda:ARN.")
        self.advice = "check the function's state and log in AWS"
        try:
            self._api = Api.open(
                {"lambda": "Lambda"},
                "docs/cloud.md",
                settings.patience.answer_s,
                region=arn[1] if arn else None,
                connections=settings.in_flight,
                send_s=min(_SEND_S, settings.patience.answer_s),
            )
        except AwsRefused as error:
            raise TailRefused(str(error)) from error

    def room(self, request: Request) -> int:
        """See Exchange. Base64 makes four bytes of three, and JSON escapes none of them."""
        return max(0, (PAYLOAD_BYTES - len(_payload(request, b""))) // 4 * 3)

    def ask(self, request: Request, limit: int) -> Reply:
        """See Exchange."""
        began = time.perf_counter_ns()
        parameters = {"FunctionName": self._function, "Payload": _payload(request, request.content)}
        try:
            answer = self._api.send(Call("lambda", "invoke", parameters))
        except AwsUnreachable as error:
            raise NoAnswer(_why(error)) from error
        except AwsRefused as error:
            if error.code in _STARTING:
                raise NoAnswer(str(error).rstrip(".")) from error
            raise TailRefused(str(error)) from error
        payload = self._read(answer["Payload"], 4 * limit // 3 + _AROUND_BYTES)
        if "FunctionError" in answer:
            raise self._failure(payload)
        status, headers, content = self._told(payload)
        if len(content) > limit:
            raise BadFrame(f"{self.name} answered {len(content)} bytes; at most {limit} were due.")
        return Reply(status, headers, content, (time.perf_counter_ns() - began) // 1000)

    def close(self) -> None:
        """See Exchange."""
        self._api.close()

    def _read(self, stream: Any, limit: int) -> bytes:  # noqa: ANN401 - boto3's
        from botocore.exceptions import BotoCoreError, HTTPClientError

        try:
            payload: bytes = stream.read(limit + 1)
        except (HTTPClientError, BotoCoreError) as error:
            raise NoAnswer(f"the answer broke off ({error})") from error
        finally:
            stream.close()
        if len(payload) > limit:
            raise BadFrame(f"{self.name} answered more than the {limit} bytes that were due.")
        return payload

    def _told(self, payload: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of a payload. Raises TailRefused if it is from a function that is no tail."""
        try:
            told = json.loads(payload)
            headers = {str(name): str(value) for name, value in told.get("headers", {}).items()}
            body = told.get("body") or ""
            content = b64decode(body, validate=True) if told.get("isBase64Encoded") else body.encode()
            return int(told["statusCode"]), headers, content
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise TailRefused(
                f"{self.name} answered {payload[:200].decode(errors='replace')!r}, which is no reply of a tail; "
                "name the function that `hybrid-batch cloud deploy` made."
            ) from error

    def _failure(self, payload: bytes) -> TailUnreachable:
        """What Lambda says when the function itself gave no answer; to ask again would end, and cost, the same."""
        try:
            told = json.loads(payload)
            kind, message = str(told.get("errorType", "")), " ".join(str(told.get("errorMessage", "")).split())[:300]
        except (ValueError, AttributeError, RecursionError):
            kind, message = "", payload[:300].decode(errors="replace")
        if kind == "Sandbox.Timedout" or "Task timed out" in message:
            return TailUnreachable(
                f"{self.name} did not finish in the time it has ({message}); deploy it with a greater --timeout, or "
                "choose a smaller --batch-size."
            )
        if kind == "Runtime.OutOfMemory" or "signal: killed" in message:
            return TailUnreachable(
                f"{self.name} needed more memory than it has ({message or kind}); deploy it with a greater --memory, "
                "or choose a smaller --batch-size."
            )
        said = ": ".join(word for word in (kind, message) if word) or "no reason given"
        return TailUnreachable(f"{self.name} failed ({said.rstrip('.')}); its log in AWS says more.")


def lambda_tail(address: str, bundle: Bundle, settings: TailSettings | None = None) -> ServedTail:
    """The tail at lambda:NAME, lambda:NAME:ALIAS or lambda:ARN. Raises WrongUsage for what is none of these, and
    TailRefused when the AWS settings make no client."""
    settings = settings or TailSettings()
    return ServedTail(LambdaExchange(address, settings), bundle, settings)


def _why(error: AwsUnreachable) -> str:
    """Why nothing came; of a function that is busy the status, as HTTP would tell it."""
    answer = getattr(error.__cause__, "response", {})
    if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") == HTTPStatus.TOO_MANY_REQUESTS:
        return f"429 {answer['Error'].get('Message') or answer['Error'].get('Code')}"
    return str(error).rstrip(".")


def _payload(request: Request, content: bytes) -> bytes:
    """The event of version 2.0 that function URLs and HTTP APIs send too."""
    event = {
        "version": "2.0",
        "rawPath": request.path,
        "requestContext": {"http": {"method": request.method, "path": request.path}},
        "headers": dict(request.headers),
        "body": b64encode(content).decode(),
        "isBase64Encoded": True,
    }
    return json.dumps(event, separators=(",", ":")).encode()
