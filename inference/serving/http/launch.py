"""Launches the server in one process or several: listen, announce the URL when ready, serve until a signal."""

import asyncio
import http.client
import multiprocessing
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvicorn
from uvicorn.supervisors import Multiprocess

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.spill import Spill
from hybrid_batch.inference.serving.http.access.access_settings import AccessSettings, TlsFiles
from hybrid_batch.inference.serving.http.access.gate import SECURITY_HEADERS
from hybrid_batch.inference.serving.http.access.tls import make_tls_context
from hybrid_batch.inference.serving.http.access.tokens import TokenFile
from hybrid_batch.inference.serving.http.app import Application, make_app
from hybrid_batch.inference.serving.http.async_handler import ServerSettings
from hybrid_batch.inference.serving.http.connections.http_connection import HttpConnection
from hybrid_batch.inference.serving.http.connections.peers import is_loopback
from hybrid_batch.inference.serving.http.connections.server_loop import ServerLoop
from hybrid_batch.inference.serving.monitoring.request_log import uvicorn_logging
from hybrid_batch.inference.serving.monitoring.shared_counters import create_counters_file

_BACKLOG = 1024
_SHUTDOWN_S = 30
# Longer than clients keep idle connections, so that the client closes them.
_KEEP_ALIVE_S = 75
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - addresses for the readiness check


def serve(settings: ServerSettings, host: str, port: int, processes: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then finish running requests. `announce` is called with the URL when the server is
    ready. Port 0 lets the system choose a port. Raises WrongUsage if it cannot listen on the address, MissingExtra if
    the runtime is not installed."""
    for cut in settings.cuts:
        settings.bundle.cut(cut)  # raises CutNotFound once, instead of in each process
    open_runtime(settings.runtime, settings.bundle)
    if settings.spill:
        Spill(settings.spill)  # raises WrongUsage once, instead of in each process
    _check_access(settings.access)
    listener = _listen(host, port, settings.access)
    if processes > 1:
        settings = replace(settings, counters_path=create_counters_file())
    config = _ServerConfig(
        partial(_make_child_app, settings) if processes > 1 else partial(make_app, settings),
        factory=True,
        workers=processes,
        log_level="warning",
        log_config=uvicorn_logging(settings.log_format),
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        http=HttpConnection,
        headers=list(SECURITY_HEADERS.items()),
        ws="none",
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    config.server_settings = settings
    threading.Thread(target=_announce, args=(listener, settings.access.tls, announce), daemon=True).start()
    if processes > 1:
        try:
            _Processes(config, [listener]).run()
        finally:
            Path(str(settings.counters_path)).unlink(missing_ok=True)
        return
    server = uvicorn.Server(config)
    # uvicorn restores the handlers it found and raises the signal once more; these handlers make that harmless.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run([listener])


class _ServerConfig(uvicorn.Config):
    """Makes the event loop of a server process, which limits connections; pickled for each process."""

    server_settings: ServerSettings

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """See uvicorn.Config."""
        return partial(ServerLoop, self.server_settings.connections, self.server_settings.access.tls)


class _Processes(Multiprocess):
    def handle_hup(self) -> None:
        """Let each process read its token file and certificate again, instead of starting new processes."""
        for process in self.processes:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)

    def terminate_all(self) -> None:
        """Stop listening first: no process will accept further connections, and they must not wait for one."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def _check_access(access: AccessSettings) -> None:
    """Raises WrongUsage once for unusable files of access, instead of in each process."""
    if access.token_file is not None:
        TokenFile(access.token_file)
    if access.tls is not None:
        make_tls_context(access.tls)


def _listen(host: str, port: int, access: AccessSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it on every reply takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        access.check_address(host, is_loopback=is_loopback(listener.getsockname()[0]))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise WrongUsage(f"Cannot listen on {host}:{port} ({error}); choose another --host or --port.") from error
    except WrongUsage:
        listener.close()
        raise
    return listener


def _announce(listener: socket.socket, tls: TlsFiles | None, announce: Callable[[str], None]) -> None:
    host, port = listener.getsockname()[:2]
    address = _ANY.get(host, host)
    while not _is_ready(address, port, has_tls=tls is not None):
        time.sleep(0.05)
    scheme = "http" if tls is None else "https"
    announce(f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}")


def _is_ready(address: str, port: int, *, has_tls: bool) -> bool:
    if has_tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is this process that listens
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(address, port, timeout=60, context=context)
    else:
        connection = http.client.HTTPConnection(address, port, timeout=60)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _make_child_app(settings: ServerSettings) -> Application:
    """The application in one of several processes, which ends with its parent even if the parent is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return make_app(settings)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
