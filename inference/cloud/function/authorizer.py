"""The Lambda authorizer of the HTTP API: accepts requests with the access token, of which it has only the hash.

It is a separate function with light imports, and uses simple responses.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any

TOKEN_SHA256 = "HYBRID_BATCH_TOKEN_SHA256"  # noqa: S105 - the name of an environment variable
_SCHEME = "bearer "


def authorize(event: Mapping[str, Any], context: object) -> dict[str, bool]:
    """Whether the SHA-256 of the token in `Authorization: Bearer TOKEN` equals that in the environment, in hexadecimal
    digits. Raises KeyError without one in the environment, so that API Gateway refuses the request."""
    expected = os.environ[TOKEN_SHA256].strip().lower()
    headers = event.get("headers") or {}
    sent = next((str(value) for name, value in headers.items() if name.lower() == "authorization"), "")
    token = sent[len(_SCHEME) :].strip() if sent.lower().startswith(_SCHEME) else ""
    digest = hashlib.sha256(token.encode(errors="replace")).hexdigest()
    return {"isAuthorized": bool(token) and hmac.compare_digest(digest.encode(), expected.encode())}
