"""Queues for replies that killed clients left behind. A client that lives says so, by a tag with the time; one whose
word is older than a day is gone."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from hybrid_batch.data.aws.queue import Queue
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, QueueGone
from hybrid_batch.inference.protocol.message import is_replies_name, replies_name

_KIND = ("hybrid-batch", "replies")
_ALIVE = "alive"
_SAY_S = 3600
_OLD_S = 24 * 3600
_MOST = 100  # are looked through at a time


def life() -> dict[str, str]:
    """The tags of a queue for replies whose client lives now."""
    return dict([_KIND]) | {_ALIVE: str(int(time.time()))}


def keep_alive(replies: Queue, over: threading.Event) -> None:
    """Say every hour that the client lives, until that is over."""
    while not over.wait(_SAY_S):
        with suppress(AwsRefused, AwsUnreachable):  # the next time comes long before it is too late
            replies.tag(life())


def clients(work: Queue) -> Iterator[tuple[Queue, bool]]:
    """The queues for replies to clients of a work queue, a hundred at most, and whether each was left behind. Raises
    AwsRefused, AwsUnreachable."""
    for queue in islice(work.siblings(replies_name(work.name, "")), _MOST):
        if is_replies_name(work.name, queue.name):
            with suppress(QueueGone):  # meanwhile
                yield queue, _is_left(queue.tags())


def tidy(work: Queue) -> None:
    """Delete what was left behind; whoever may not do that leaves it."""
    with suppress(AwsRefused, AwsUnreachable):
        for queue, is_left in clients(work):
            if is_left:
                queue.destroy()


def _is_left(tags: dict[str, str]) -> bool:
    said = tags.get(_ALIVE, "")
    return _KIND in tags.items() and said.isdecimal() and time.time() - int(said) > _OLD_S
