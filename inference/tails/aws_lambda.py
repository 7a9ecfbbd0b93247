"""The transport through AWS Lambda: invokes the function directly, with the event that a gateway would send."""

import json
import re
import time
from base64 import b64decode, b64encode
from dataclasses import replace
from http import HTTPStatus
from textwrap import shorten
from typing import Any

import msgspec

from hybrid_batch.data.aws.aws_client import AwsCall, AwsClient
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, InvalidFrame, TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.json_head import parse_parameters
from hybrid_batch.inference.protocol.transport import NoResponse, Reply, Request
from hybrid_batch.inference.tails.remote import RemoteTail
from hybrid_batch.inference.tails.settings import TailSettings

SCHEME = "lambda:"
PAYLOAD_BYTES = (6 << 20) - 1  # AWS says both "limit 6291456 bytes" and "must be smaller than 6291456 bytes"
_MESSAGE_CHARACTERS = 300
_ENVELOPE_BYTES = 1 << 16  # of the result's JSON, apart from the body
_SEND_S = 30  # for 6 MiB, over a link of 1.7 Mbit/s
_NAME = re.compile(r"[\w-]{1,64}(?::(?:\$LATEST|[\w-]{1,128}))?", re.ASCII)
_ARN = re.compile(r"arn:aws[a-z-]*:lambda:([a-z0-9-]+):\d{12}:function:" + _NAME.pattern, re.ASCII)
_TRANSIENT = {"ResourceConflictException", "ResourceNotReadyException"}


class _Result(msgspec.Struct):
    """What a function returns: a response of payload format 2.0."""

    status: int = msgspec.field(name="statusCode")
    headers: msgspec.Raw = msgspec.Raw(b"{}")
    body: str | None = None
    is_base64: bool = msgspec.field(name="isBase64Encoded", default=False)


class _Failure(msgspec.Struct):
    """What Lambda returns for a function that failed."""

    kind: str | None = msgspec.field(name="errorType", default=None)
    message: str | None = msgspec.field(name="errorMessage", default=None)


class LambdaTransport:
    """See Transport. Each thread that sends runs its own invocation. Raises WrongUsage for an address that is not that
    of a function, TailRefused for unusable AWS settings."""

    def __init__(self, address: str, settings: TailSettings | None = None) -> None:
        settings = settings or TailSettings()
        self.name = address
        self._function = address.removeprefix(SCHEME)
        arn = _ARN.fullmatch(self._function)
        if not arn and not _NAME.fullmatch(self._function):
            raise WrongUsage(
                f"{address!r} does not name a function; write lambda:NAME, lambda:NAME:ALIAS or lambda:ARN."
            )
        self.hint = "check the function's state and log in AWS"
        try:
            self._api = AwsClient.open(
                {"lambda": "Lambda"},
                "docs/cloud.md",
                settings.retries.response_timeout_s,
                region=arn[1] if arn else None,
                connections=settings.in_flight,
                send_s=min(_SEND_S, settings.retries.response_timeout_s),
            )
        except AwsRefused as error:
            raise TailRefused(str(error)) from error

    def max_content_bytes(self, request: Request) -> int:
        """See Transport. Base64 encodes three bytes as four, none of which JSON escapes."""
        return max(0, (PAYLOAD_BYTES - len(invocation_payload(replace(request, content=b"")))) // 4 * 3)

    def send(self, request: Request, limit: int) -> Reply:
        """See Transport."""
        start = time.perf_counter_ns()
        parameters = {"FunctionName": self._function, "Payload": invocation_payload(request)}
        try:
            answer = self._api.call_once(AwsCall("lambda", "invoke", parameters))
        except AwsUnreachable as error:
            raise NoResponse(_why(error)) from error
        except AwsRefused as error:
            if error.code in _TRANSIENT:
                raise NoResponse(str(error).rstrip(".")) from error
            raise TailRefused(str(error)) from error
        payload = self._read(answer["Payload"], 4 * limit // 3 + _ENVELOPE_BYTES)
        if "FunctionError" in answer:
            raise self._failure(payload)
        status, headers, content = self._parse(payload)
        if len(content) > limit:
            raise InvalidFrame(f"{self.name} sent {len(content)} bytes, more than the {limit} bytes expected.")
        return Reply(status, headers, content, (time.perf_counter_ns() - start) // 1000)

    def close(self) -> None:
        """See Transport."""
        self._api.close()

    def _read(self, stream: Any, limit: int) -> bytes:  # noqa: ANN401 - boto3's
        from botocore.exceptions import BotoCoreError, HTTPClientError

        try:
            payload: bytes = stream.read(limit + 1)
        except (HTTPClientError, BotoCoreError) as error:
            raise NoResponse(f"the connection was closed in the middle of the answer ({error})") from error
        finally:
            stream.close()
        if len(payload) > limit:
            raise InvalidFrame(f"{self.name} sent more than the {limit} bytes expected.")
        return payload

    def _parse(self, payload: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of a result. Raises TailRefused if the function is not a tail."""
        try:
            result = msgspec.json.decode(payload, type=_Result)
            headers = {name: str(value) for name, value in parse_parameters(result.headers).items()}
            body = result.body or ""
            content = b64decode(body, validate=True) if result.is_base64 else body.encode()
        except (msgspec.DecodeError, ValueError, InvalidFrame, RecursionError) as error:
            raise TailRefused(
                f"{self.name} returned {payload[:200].decode(errors='replace')!r}, which is not the reply of a tail; "
                "give the name of a function that `hybrid-batch cloud deploy` created."
            ) from error
        return result.status, headers, content

    def _failure(self, payload: bytes) -> TailUnreachable:
        """The error of a function that failed. It is not retried: another invocation would fail, and cost, the same."""
        try:
            result = msgspec.json.decode(payload, type=_Failure)
            kind = result.kind or ""
            message = shorten(result.message or "", _MESSAGE_CHARACTERS, placeholder=" …")
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            kind, message = "", payload[:300].decode(errors="replace")
        if kind == "Sandbox.Timedout" or "Task timed out" in message:
            return TailUnreachable(
                f"{self.name} did not finish within its timeout ({message}); deploy it with a greater "
                "--function-timeout, or choose a smaller --batch-size."
            )
        if kind == "Runtime.OutOfMemory" or "signal: killed" in message:
            return TailUnreachable(
                f"{self.name} ran out of memory ({message or kind}); deploy it with a greater --memory, "
                "or choose a smaller --batch-size."
            )
        cause = ": ".join(word for word in (kind, message) if word) or "no reason given"
        return TailUnreachable(f"{self.name} failed ({cause.rstrip('.')}); see its log in AWS.")


def open_lambda_tail(address: str, bundle: Bundle, settings: TailSettings | None = None) -> RemoteTail:
    """Open the tail at lambda:NAME, lambda:NAME:ALIAS or lambda:ARN. Raises WrongUsage for another address, TailRefused
    for unusable AWS settings."""
    settings = settings or TailSettings()
    return RemoteTail(LambdaTransport(address, settings), bundle, settings)


def _why(error: AwsUnreachable) -> str:
    """Why there was no response; for a throttled function the status and message, as HTTP would give them."""
    answer = getattr(error.__cause__, "response", {})
    if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") == HTTPStatus.TOO_MANY_REQUESTS:
        return f"429 {answer['Error'].get('Message') or answer['Error'].get('Code')}"
    return str(error).rstrip(".")


def invocation_payload(request: Request) -> bytes:
    """The event of payload format 2.0, as function URLs and HTTP APIs send it."""
    event = {
        "version": "2.0",
        "rawPath": request.path,
        "requestContext": {"http": {"method": request.method, "path": request.path}},
        "headers": dict(request.headers),
        "body": b64encode(request.content).decode(),
        "isBase64Encoded": True,
    }
    return json.dumps(event, separators=(",", ":")).encode()
