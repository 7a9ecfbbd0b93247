"""Authenticates the client of a request from the header, before the body is read."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus

from starlette.types import Scope

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.terminal.escapes import write_line
from hybrid_batch.inference.serving.http.access.access_settings import AccessSettings
from hybrid_batch.inference.serving.http.access.client_meter import ClientMeter
from hybrid_batch.inference.serving.http.access.tokens import TokenFile
from hybrid_batch.inference.serving.http.connections.http_connection import CONNECTION
from hybrid_batch.inference.serving.http.connections.peers import is_loopback, peer_of
from hybrid_batch.inference.serving.oip import Operation
from hybrid_batch.inference.serving.replies import HttpError

_PUBLIC = (Operation.SERVER_LIVE, Operation.SERVER_READY)
_CONCURRENT_SHARE = 0.75
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Gate:
    """Authenticates requests and counts what each client uses. Raises WrongUsage for an unusable token file."""

    def __init__(self, settings: AccessSettings, max_pending: int, now: Callable[[], float]) -> None:
        self._tokens = TokenFile(settings.token_file) if settings.token_file is not None else None
        self._requires_certificate = settings.tls is not None and settings.tls.client_ca is not None
        self._meter = ClientMeter(settings.limits, max(1, int(max_pending * _CONCURRENT_SHARE)), now)

    def authenticate(self, scope: Scope, operation: Operation | None) -> str | None:
        """The name of the client by its token or certificate, None if it needs neither. Liveness and readiness of the
        server need neither; `operation` is None for an unknown target. Raises HttpError with status 401 for a missing
        or unknown token, 403 for a missing certificate, and for a request of a web page to a server without
        authentication."""
        if operation in _PUBLIC:
            return None
        name = self._find_certificate(scope) if self._requires_certificate else None
        if self._tokens is not None:
            return self._find_token(self._tokens, scope)
        if name is None and _header(scope, b"origin") is not None:
            raise HttpError(HTTPStatus.FORBIDDEN, "Requests of web pages are refused by a server without --token-file.")
        return name

    def use(self, scope: Scope, client: str | None) -> AbstractContextManager[Callable[[int], None]]:
        """See ClientMeter.use: `client` is the result of `authenticate`. Without a name its address is the client."""
        if client is not None:
            return self._meter.use(f"name {client}", is_identified=True)
        host = peer_of(scope["client"][0]) if scope.get("client") else "local"
        return self._meter.use(f"peer {host}", is_identified=not is_loopback(host))

    def sharing(self, scope: Scope, client: str | None) -> str | None:
        """With which other requests this one shares the memory of its client; None on loopback, where one address is
        many clients."""
        if client is not None:
            return f"name {client}"
        host = peer_of(scope["client"][0]) if scope.get("client") else "local"
        return None if is_loopback(host) or host == "local" else f"peer {host}"

    def reload(self) -> None:
        """Read the token file again; an invalid one is reported, and the present tokens stay."""
        if self._tokens is None:
            return
        try:
            self._tokens.reload()
        except WrongUsage as error:
            write_line(sys.stderr, f"Warning: the tokens stay as they were: {error}")
        else:
            write_line(sys.stderr, "The token file was read again.")

    def _find_certificate(self, scope: Scope) -> str:
        connection = scope.get(CONNECTION)
        name = connection.certificate if connection is not None else None
        if name is None:
            raise HttpError(HTTPStatus.FORBIDDEN, "This server requires a client certificate; the client showed none.")
        return str(name)

    def _find_token(self, tokens: TokenFile, scope: Scope) -> str:
        scheme, _, token = (_header(scope, b"authorization") or "").partition(" ")
        name = tokens.find(token.strip()) if scheme.lower() == "bearer" and token else None
        if name is None:
            challenge = 'Bearer realm="hybrid-batch"' + (', error="invalid_token"' if token else "")
            raise HttpError(
                HTTPStatus.UNAUTHORIZED,
                "This server requires a token; send one that its --token-file holds, as `Authorization: Bearer TOKEN`.",
                {"WWW-Authenticate": challenge},
            )
        return name


def _header(scope: Scope, name: bytes) -> str | None:
    """The value of a header that occurs once; None if it is missing or occurs several times."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else None
