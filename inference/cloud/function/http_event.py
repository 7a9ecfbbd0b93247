"""Events of API Gateway's HTTP APIs and of Function URLs, which direct invocations imitate, as requests; and replies.

Payload format 2.0: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, TypeGuard

from hybrid_batch.data.errors import BadFrame
from hybrid_batch.inference.protocol.transport import Reply, Request

MAX_PAYLOAD_BYTES = 6 << 20  # Lambda's limit on events and on results, both JSON
# The largest body that always fits: API Gateway allows 10 KiB of headers, and tells some of them twice.
MAX_BODY_BYTES = (MAX_PAYLOAD_BYTES - (32 << 10)) // 4 * 3


def is_request(event: object) -> TypeGuard[dict[str, Any]]:
    """Whether an event is one of payload format 2.0."""
    return isinstance(event, dict) and event.get("version") == "2.0" and "requestContext" in event


def read_request(event: Mapping[str, Any]) -> Request:
    """The request in an event. Raises BadFrame for one that is broken.

    What stands before /v2 in the path, the stage or what a domain maps, is left out."""
    try:
        path, method = event["rawPath"], event["requestContext"]["http"]["method"]
        headers = {str(name): str(value) for name, value in (event.get("headers") or {}).items()}
        body = event.get("body") or ""
        content = b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
        return Request(str(method), path[max(0, path.find("/v2")) :], headers, content)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise BadFrame(f"The event is no request of payload format 2.0 ({error!r}).") from error


def write_reply(reply: Reply) -> dict[str, Any]:
    """The result that carries a reply."""
    return {
        "statusCode": reply.status,
        "headers": dict(reply.headers),
        "body": b64encode(reply.content).decode(),
        "isBase64Encoded": True,
    }


def payload_bytes(reply: Reply) -> int:
    """Bytes of the JSON in which the result of a reply travels."""
    envelope = json.dumps(write_reply(Reply(reply.status, reply.headers)))
    return len(envelope) + -(-len(reply.content) // 3) * 4
