"""The limits of connections: how many are open, in all and for each peer, and how long each may wait."""

import resource
from dataclasses import dataclass

MAX_HEADER_BYTES = 16 << 10
MAX_HEADERS = 100
_OTHER_DESCRIPTORS = 64  # the model's files, the runtime's cache, sockets to S3


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one server process.

    `connections` are open at once, `for_peer` of them from one address: half by default, all for loopback addresses,
    because all users of a machine and of its proxy share one. A header has `header_s` to arrive, each body and reply
    `request_s`. Each has `grace_s` and then must have moved at `bytes_per_s` on average. `body_bytes` is the memory of
    bodies that are being received, `reply_bytes` of replies that clients have not read. A connection that has moved
    nothing for `stall_s` may be closed when there is no room for another."""

    connections: int = 4096
    for_peer: int | None = None
    header_s: float = 10.0
    request_s: float = 600.0
    grace_s: float = 20.0
    bytes_per_s: float = 1000.0
    body_bytes: int = 128 << 20
    reply_bytes: int = 128 << 20
    stall_s: float = 1.0

    @property
    def tick_s(self) -> float:
        """Seconds between two checks of all deadlines."""
        return min(1.0, max(0.05, min(self.header_s, self.grace_s, self.stall_s) / 4))

    def transfer_s(self, moved: int) -> float:
        """Seconds that a transfer may have taken after it has moved so many bytes."""
        return min(self.grace_s + moved / self.bytes_per_s, self.request_s)


def raise_descriptor_limit(connections: int) -> int:
    """Raise the soft limit of descriptors of this process for so many connections, as far as the hard limit allows.
    Returns the number of connections that fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        except (ValueError, OSError):  # macOS: less than the hard limit is allowed
            pass
    if soft == resource.RLIM_INFINITY:
        return connections
    return min(connections, max(soft - _OTHER_DESCRIPTORS, soft // 2, 1))
