"""Requests and replies as messages of a queue.

The text of a message is JSON: {"method", "path", "headers", "body"} or {"status", "headers", "body"}, with the body in
base64. Its attributes are

    id         the request's id, which its reply repeats
    reply_to   the name of the queue for the reply
    bundle     the hash of the bundle that must answer; optional

Messages are not trusted: a malformed one raises InvalidFrame.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec

from hybrid_batch.data.aws.queue import MAX_BATCH_BYTES, MAX_NAME_LENGTH, OutgoingMessage, ReceivedMessage
from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.protocol.json_head import reason
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import BUNDLE

Value = TypeVar("Value")
ID, REPLY_TO = "id", "reply_to"
_ID = re.compile(r"[0-9a-f]{32}")
_REPLIES = "-replies"
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CLIENT_SUFFIX = re.compile(r"-[0-9a-f]{12}")


def reply_queue_name(work_queue: str, client: str) -> str:
    """Return the name of the queue for replies to one client; `client` is 12 random hexadecimal digits."""
    return f"{work_queue}{_REPLIES}-{client}"


def is_reply_queue_name(work_queue: str, name: str) -> bool:
    """Whether a queue is for replies to a client of this work queue. A worker sends to no other queue."""
    start = f"{work_queue}{_REPLIES}"
    return len(name) <= MAX_NAME_LENGTH and name.startswith(start) and bool(_CLIENT_SUFFIX.fullmatch(name, len(start)))


def request_message(request: Request, request_id: str, reply_to: str, bundle: str = "") -> OutgoingMessage:
    """Encode a request. `request_id` is 32 hexadecimal digits; any bundle may answer if `bundle` is empty."""
    head = {"method": request.method, "path": request.path}
    attributes = {ID: request_id, REPLY_TO: reply_to} | ({BUNDLE: bundle} if bundle else {})
    return OutgoingMessage(_encode(head, request.headers, request.content), attributes)


def max_message_content_bytes(request: Request) -> int:
    """Return the most bytes of content that fit into a message with this method, path and headers.

    The name of the reply queue is counted at its maximum length."""
    empty = request_message(replace(request, content=b""), "0" * 32, "x" * MAX_NAME_LENGTH, "0" * 64)
    return (MAX_BATCH_BYTES - empty.size) // 4 * 3


def reply_message(reply: Reply, request_id: str) -> OutgoingMessage:
    """Encode the reply to a request."""
    return OutgoingMessage(_encode({"status": reply.status}, reply.headers, reply.content), {ID: request_id})


def parse_id(message: ReceivedMessage) -> str:
    """Return the request's id. Raises InvalidFrame if the message has none."""
    request_id = message.attributes.get(ID, "")
    if not _ID.fullmatch(request_id):
        raise InvalidFrame(f"A message has {request_id[:40]!r} as {ID}, which is not 32 hexadecimal digits.")
    return request_id


def parse_request(message: ReceivedMessage) -> Request:
    """Decode a request. Raises InvalidFrame."""
    fields = _decode(message)
    refusal = "A message of a request lacks its method or path"
    method, path = (_field(fields, name, str, refusal) for name in ("method", "path"))
    return Request(method, path, _headers(fields), _body(fields))


def parse_reply(message: ReceivedMessage, round_trip_us: int) -> Reply:
    """Decode a reply. Raises InvalidFrame."""
    fields = _decode(message)
    status = _field(fields, "status", int, "A message of a reply lacks its status")
    return Reply(status, _headers(fields), _body(fields), round_trip_us)


def _encode(head: Mapping[str, object], headers: Mapping[str, str], body: bytes) -> str:
    return json.dumps({**head, "headers": dict(headers), "body": b64encode(body).decode()}, separators=(",", ":"))


def _decode(message: ReceivedMessage) -> dict[str, msgspec.Raw]:
    """The fields of a message, not yet parsed. JSON with half of a surrogate pair is not valid text."""
    try:
        return _FIELDS.decode(message.text)
    except msgspec.ValidationError as error:
        raise InvalidFrame("A message is not a JSON object.") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidFrame(f"A message is not JSON: {reason(error)}.") from error


def _field(fields: Mapping[str, msgspec.Raw], name: str, kind: type[Value], refusal: str) -> Value:
    try:
        return msgspec.json.decode(fields[name], type=kind)
    except (KeyError, msgspec.DecodeError, UnicodeError) as error:
        raise InvalidFrame(f"{refusal}: {reason(error)}.") from error


def _headers(fields: Mapping[str, msgspec.Raw]) -> dict[str, str]:
    refusal = "The headers in a message are not an object of strings"
    return _field(fields, "headers", dict[str, str], refusal) if "headers" in fields else {}


def _body(fields: Mapping[str, msgspec.Raw]) -> bytes:
    refusal = "The body in a message is not base64"
    try:
        return b64decode(_field(fields, "body", str, refusal), validate=True) if "body" in fields else b""
    except ValueError as error:
        raise InvalidFrame(f"{refusal}: {error}.") from error
