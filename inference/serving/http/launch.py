"""Launches the server in one process or several: listen, announce the URL when ready, serve until a signal."""

import http.client
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial

import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.spill import Spill
from hybrid_batch.inference.serving.http.app import make_app
from hybrid_batch.inference.serving.http.async_handler import ServerSettings

_BACKLOG = 1024
_SHUTDOWN_S = 30
# Longer than clients keep idle connections, so that the client closes them.
_KEEP_ALIVE_S = 75
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - addresses for the readiness check


def serve(settings: ServerSettings, host: str, port: int, processes: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then finish running requests. `announce` is called with the URL when the server is
    ready. Port 0 lets the system choose a port. Raises WrongUsage if it cannot listen on the address, MissingExtra if
    the runtime is not installed."""
    open_runtime(settings.runtime, settings.bundle)
    if settings.spill:
        Spill(settings.spill)  # raises WrongUsage once, instead of in each process
    listener = _listen(host, port)
    config = uvicorn.Config(
        partial(_make_child_app, settings) if processes > 1 else partial(make_app, settings),
        factory=True,
        workers=processes,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        http="h11",  # uvicorn prefers httptools, which reads headers of unlimited size into memory
        ws="none",
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    threading.Thread(target=_announce, args=(listener, announce), daemon=True).start()
    if processes > 1:
        _Processes(config, [listener]).run()
        return
    server = uvicorn.Server(config)
    # uvicorn restores the handlers it found and raises the signal once more; these handlers make that harmless.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run([listener])


class _Processes(Multiprocess):
    def terminate_all(self) -> None:
        """Stop listening first: no process will accept further connections, and they must not wait for one."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it on every reply takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise WrongUsage(f"Cannot listen on {host}:{port} ({error}); choose another --host or --port.") from error
    return listener


def _announce(listener: socket.socket, announce: Callable[[str], None]) -> None:
    host, port = listener.getsockname()[:2]
    address = _ANY.get(host, host)
    while True:
        connection = http.client.HTTPConnection(address, port, timeout=60)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == http.client.OK:
                break
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def _make_child_app(settings: ServerSettings) -> Starlette:
    """The application in one of several processes, which ends with its parent even if the parent is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return make_app(settings)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
