"""Who may ask the tail behind API Gateway: whoever has the token.

Only the token's hash is known here. A Lambda function of its own, that imports nothing heavy: a Lambda authoriser of an
HTTP API, with simple responses.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any

TOKEN_SHA256 = "HYBRID_BATCH_TOKEN_SHA256"  # noqa: S105 - the name of a variable
_SCHEME = "bearer "


def authorise(event: Mapping[str, Any], context: object) -> dict[str, bool]:
    """Whether the request's `Authorization: Bearer TOKEN` is the one whose SHA-256, in hexadecimal digits, the
    environment gives. Raises KeyError where it gives none, which lets nobody in."""
    wanted = os.environ[TOKEN_SHA256].strip().lower()
    headers = event.get("headers") or {}
    sent = next((str(value) for name, value in headers.items() if name.lower() == "authorization"), "")
    token = sent[len(_SCHEME) :].strip() if sent.lower().startswith(_SCHEME) else ""
    digest = hashlib.sha256(token.encode(errors="replace")).hexdigest()
    return {"isAuthorized": bool(token) and hmac.compare_digest(digest.encode(), wanted.encode())}
