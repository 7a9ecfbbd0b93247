"""HTTP events and results of Lambda: from API Gateway's HTTP APIs, function URLs and direct invocations.

Payload format 2.0: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, TypeGuard

from hybrid_batch.data.errors import InvalidFrame
from hybrid_batch.inference.protocol.transport import Reply, Request

MAX_PAYLOAD_BYTES = 6 << 20  # limit of events and results, both JSON
# The largest body that always fits: API Gateway allows 10 KiB of headers and repeats some of them.
MAX_BODY_BYTES = (MAX_PAYLOAD_BYTES - (32 << 10)) // 4 * 3


def is_http_event(event: object) -> TypeGuard[dict[str, Any]]:
    """Whether an event has payload format 2.0."""
    return isinstance(event, dict) and event.get("version") == "2.0" and "requestContext" in event


def decode_event(event: Mapping[str, Any]) -> Request:
    """The request in an event. The path begins at /v2, without the stage or the mapping of a custom domain. Raises
    InvalidFrame."""
    try:
        path, method = event["rawPath"], event["requestContext"]["http"]["method"]
        headers = {str(name): str(value) for name, value in (event.get("headers") or {}).items()}
        body = event.get("body") or ""
        content = b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
        return Request(str(method), path[max(0, path.find("/v2")) :], headers, content)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise InvalidFrame(f"The event is not a request of payload format 2.0 ({error!r}).") from error


def encode_result(reply: Reply) -> dict[str, Any]:
    """The result of Lambda with this reply."""
    return {
        "statusCode": reply.status,
        "headers": dict(reply.headers),
        "body": b64encode(reply.content).decode(),
        "isBase64Encoded": True,
    }


def result_bytes(reply: Reply) -> int:
    """The size in bytes of the result with this reply, as JSON."""
    envelope = json.dumps(encode_result(Reply(reply.status, reply.headers)))
    return len(envelope) + -(-len(reply.content) // 3) * 4
