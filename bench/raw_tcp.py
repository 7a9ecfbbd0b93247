"""The time of plain bytes through a link, without HTTP: the link's process adds some delay of its own."""

import socket
import statistics
import threading
import time

from bench.link import Conditions, open_link

_TIMES, _PAUSE_S = 30, 0.005  # one after the other, as single images


def transfer_s(conditions: Conditions, sent: int, received: int) -> float:
    """Return the median seconds that a link adds to a request of `sent` bytes and a response of `received` bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_answer, args=(listener, sent, received), daemon=True).start()
        port = listener.getsockname()[1]
        direct_s = _round_trip_s(port, sent, received)
        with open_link("127.0.0.1", port, (0, conditions)) as link:
            return _round_trip_s(link.port, sent, received) - direct_s


def _answer(listener: socket.socket, sent: int, received: int) -> None:
    for _ in range(2):
        far, _address = listener.accept()
        with far:
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while _receive(far, sent):
                far.sendall(bytes(received))


def _round_trip_s(port: int, sent: int, received: int) -> float:
    waits = []
    with socket.create_connection(("127.0.0.1", port)) as near:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(_TIMES):
            time.sleep(_PAUSE_S)
            began = time.perf_counter()
            near.sendall(bytes(sent))
            _receive(near, received)
            waits.append(time.perf_counter() - began)
    return statistics.median(waits)


def _receive(end: socket.socket, size: int) -> bool:
    """Return whether `size` bytes arrived before the end of the connection."""
    while size and (piece := end.recv(min(size, 1 << 16))):
        size -= len(piece)
    return not size
