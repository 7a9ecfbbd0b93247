"""A request, and its reply, as messages of a queue.

The text is JSON: {"method", "path", "headers", "body"} or {"status", "headers", "body"}, the body in base64. The
attribute `id` says which reply belongs to which request, `reply_to` names the queue it goes to, and `bundle`, if it is
there, the hash of the bundle that must answer. Nothing here trusts what it was sent: whatever is wrong is a BadFrame.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hybrid_batch.data.aws.queue import LONGEST_NAME, MOST_BYTES, Incoming, Outgoing
from hybrid_batch.data.errors import BadFrame
from hybrid_batch.inference.protocol.transport import Reply, Request

ID, REPLY_TO, BUNDLE = "id", "reply_to", "bundle"
_ID = re.compile(r"[0-9a-f]{32}")
_REPLIES = "-replies"
_RANDOM = re.compile(r"-[0-9a-f]{12}")


def replies_name(work: str, random: str) -> str:
    """The queue for the replies to one client of the work queue; `random` is 12 hexadecimal digits."""
    return f"{work}{_REPLIES}-{random}"


def is_replies_name(work: str, name: str) -> bool:
    """Whether a queue is one for replies to a client of this work queue: only there may a worker send."""
    start = f"{work}{_REPLIES}"
    return len(name) <= LONGEST_NAME and name.startswith(start) and bool(_RANDOM.fullmatch(name, len(start)))


def write_request(request: Request, number: str, reply_to: str, bundle: str = "") -> Outgoing:
    """The message of a request; `number` is its id, 32 hexadecimal digits, `bundle` the hash of the bundle that must
    answer, if it matters which."""
    told = {"method": request.method, "path": request.path}
    attributes = {ID: number, REPLY_TO: reply_to} | ({BUNDLE: bundle} if bundle else {})
    return Outgoing(_write(told, request.headers, request.content), attributes)


def room_in_message(request: Request) -> int:
    """Bytes of content that a request of this method, path and headers may have to fit into a message, whatever
    the name of the queue for its reply."""
    empty = write_request(replace(request, content=b""), "0" * 32, "x" * LONGEST_NAME, "0" * 64)
    return (MOST_BYTES - empty.size) // 4 * 3


def write_reply(reply: Reply, number: str) -> Outgoing:
    """The message of a reply to the request with this id."""
    return Outgoing(_write({"status": reply.status}, reply.headers, reply.content), {ID: number})


def read_id(message: Incoming) -> str:
    """The id of a message. Raises BadFrame if it has none."""
    number = message.attributes.get(ID, "")
    if not _ID.fullmatch(number):
        raise BadFrame(f"A message has {number[:40]!r} as {ID}, which is not 32 hexadecimal digits.")
    return number


def read_request(message: Incoming) -> Request:
    """The request in a message. Raises BadFrame."""
    told = _read(message)
    method, path = told.get("method"), told.get("path")
    if not isinstance(method, str) or not isinstance(path, str):
        raise BadFrame("A message of a request lacks its method or path.")
    return Request(method, path, _headers(told), _body(told))


def read_reply(message: Incoming, took_us: int) -> Reply:
    """The reply in a message. Raises BadFrame."""
    told = _read(message)
    status = told.get("status")
    if type(status) is not int:
        raise BadFrame("A message of a reply lacks its status.")
    return Reply(status, _headers(told), _body(told), took_us)


def _write(told: Mapping[str, object], headers: Mapping[str, str], body: bytes) -> str:
    return json.dumps({**told, "headers": dict(headers), "body": b64encode(body).decode()}, separators=(",", ":"))


def _read(message: Incoming) -> dict[str, Any]:
    try:
        told = json.loads(message.text)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"A message is not JSON: {error}.") from error
    if not isinstance(told, dict):
        raise BadFrame("A message is not a JSON object.")
    return told


def _headers(told: Mapping[str, Any]) -> dict[str, str]:
    headers = told.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise BadFrame("The headers in a message are not an object of strings.")
    return headers


def _body(told: Mapping[str, Any]) -> bytes:
    body = told.get("body", "")
    try:
        return b64decode(body, validate=True)
    except (TypeError, ValueError) as error:
        raise BadFrame(f"The body in a message is not base64: {error}.") from error
