"""The server's process, or processes: listen, say where once ready, serve until told to stop."""

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
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.protocol.spill import Spill
from hybrid_batch.inference.serving.http.app import make_app
from hybrid_batch.inference.serving.http.service import ServiceSettings

_BACKLOG = 1024
_SHUTDOWN_S = 30
# Longer than clients keep idle connections, so that it is the client who closes them.
_KEEP_ALIVE_S = 75
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - only to know where to ask


def serve(settings: ServiceSettings, host: str, port: int, workers: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight. `announce` is given the URL once requests are
    answered there. Port 0 lets the system choose. Raises WrongUsage if the address cannot be listened on, and
    MissingExtra if the engine is not installed."""
    open_engine(settings.engine, settings.bundle)
    if settings.spill:
        Spill(settings.spill)  # or each process would say what is wrong with it
    listener = _listen(host, port)
    config = uvicorn.Config(
        partial(_make_worker, settings) if workers > 1 else partial(make_app, settings),
        factory=True,
        workers=workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        http="h11",  # httptools, which would be chosen where it is installed, reads headers without end into memory
        ws="none",
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    threading.Thread(target=_announce, args=(listener, announce), daemon=True).start()
    if workers > 1:
        _Workers(config, [listener]).run()
        return
    server = uvicorn.Server(config)
    # uvicorn puts back the handlers it found and sends itself the signal once more: these make that harmless.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run([listener])


class _Workers(Multiprocess):
    def terminate_all(self) -> None:
        """Stop listening first: connections that no worker will accept any more must not wait for one."""
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
    asked = _ANY.get(host, host)
    while True:
        connection = http.client.HTTPConnection(asked, port, timeout=60)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == http.client.OK:
                break
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def _make_worker(settings: ServiceSettings) -> Starlette:
    """The application in a process of several; it ends when its parent is killed and cannot tell it to."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    return make_app(settings)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
