"""Whether the client of a connection is still there, as far as the system knows."""

import asyncio
import socket
import sys
from enum import Enum, auto

_CLOSED, _CLOSE_WAIT = 7, 8  # Linux: TCP_CLOSE, TCP_CLOSE_WAIT of <linux/tcp.h>


class PeerState(Enum):
    """The state of the other end of a connection."""

    OPEN = auto()
    HALF_CLOSED = auto()
    GONE = auto()


def peer_state(transport: asyncio.Transport) -> PeerState:
    """The state of a transport's client. Systems other than Linux report only connections that were reset."""
    connection = transport.get_extra_info("socket")
    try:
        if connection is None or connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return PeerState.GONE
        if sys.platform != "linux":
            return PeerState.OPEN
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return PeerState.GONE
    return {_CLOSED: PeerState.GONE, _CLOSE_WAIT: PeerState.HALF_CLOSED}.get(state, PeerState.OPEN)
