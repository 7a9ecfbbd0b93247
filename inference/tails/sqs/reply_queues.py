"""Reply queues, one for each client of a work queue: created, tagged with a heartbeat, and deleted when stale.

A client tags its queue with the time every hour. A queue whose tag is older than a day belongs to a client that was
killed. The tag `owner` is the AWS user id of the client, by which permissions can limit users to their own queues.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from hybrid_batch.data.aws.caller import caller_id
from hybrid_batch.data.aws.queue import MAX_NAME_LENGTH, SqsQueue
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, QueueNotFound, WrongUsage
from hybrid_batch.inference.protocol.message import is_reply_queue_name, reply_queue_name

_KIND = ("hybrid-batch", "replies")
_ALIVE = "alive"
_OWNER = "owner"
_HEARTBEAT_S = 3600
_STALE_S = 24 * 3600
_MAX_LISTED = 100
_RETENTION_S = 3600


def create_reply_queue(work: SqsQueue) -> SqsQueue:
    """Create the reply queue of a new client of a work queue. Raises WrongUsage if the work queue's name is too long,
    AwsRefused, AwsUnreachable."""
    name = reply_queue_name(work.name, uuid.uuid4().hex[:12])
    if len(name) > MAX_NAME_LENGTH:
        raise WrongUsage(
            f"The queue name {work.name!r} is too long: its reply queue {name!r} would have {len(name)} characters, "
            f"and SQS allows {MAX_NAME_LENGTH}; use a shorter name."
        )
    return work.create_sibling(name, _RETENTION_S, heartbeat_tags() | _owner_tag())


def heartbeat_tags() -> dict[str, str]:
    """The tags of the reply queue of a client that is alive now, without that of its owner."""
    return dict([_KIND]) | {_ALIVE: str(int(time.time()))}


def _owner_tag() -> dict[str, str]:
    with suppress(AwsRefused, AwsUnreachable):  # a network without a way to STS; the permissions then decide
        return {_OWNER: caller_id()}
    return {}


def send_heartbeats(reply_queue: SqsQueue, stopped: threading.Event) -> None:
    """Renew the tags of a reply queue every hour until stopped."""
    while not stopped.wait(_HEARTBEAT_S):
        with suppress(AwsRefused, AwsUnreachable):  # the next heartbeat is long before the queue counts as stale
            reply_queue.tag(heartbeat_tags())


def list_queues(work: SqsQueue) -> Iterator[tuple[SqsQueue, bool]]:
    """The reply queues of a work queue, a hundred at most, and whether each is stale. Raises AwsRefused,
    AwsUnreachable."""
    for queue in islice(work.siblings(reply_queue_name(work.name, "")), _MAX_LISTED):
        if is_reply_queue_name(work.name, queue.name):
            with suppress(QueueNotFound):  # deleted since it was listed
                yield queue, _is_stale(queue.tags())


def delete_stale(work: SqsQueue) -> None:
    """Delete stale reply queues. Without the permissions for it, or the network, it does nothing."""
    with suppress(AwsRefused, AwsUnreachable):
        for queue, is_stale in list_queues(work):
            if is_stale:
                queue.delete_queue()


def _is_stale(tags: dict[str, str]) -> bool:
    alive = tags.get(_ALIVE, "")
    return _KIND in tags.items() and alive.isdecimal() and time.time() - int(alive) > _STALE_S
