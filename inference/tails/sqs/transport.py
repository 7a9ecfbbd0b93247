"""The exchange through a queue of SQS: requests wait there for workers, replies come by a queue of the client's own."""

import threading
import time
import uuid
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from hybrid_batch.data.aws.queue import Queue
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, BadFrame, TailRefused, TailUnreachable
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.message import read_reply, room_in_message, write_request
from hybrid_batch.inference.protocol.transport import NoAnswer, Reply, Request
from hybrid_batch.inference.tails.remote import ServedTail
from hybrid_batch.inference.tails.settings import TailSettings
from hybrid_batch.inference.tails.sqs.reply_listener import Replies
from hybrid_batch.inference.tails.sqs.reply_queues import tidy
from hybrid_batch.inference.tails.sqs.send_buffer import Outbox

SCHEME = "sqs:"
_SETTLE_S = 1.0  # AWS: a new queue is to be used a second after it was created, and no sooner
_SILENCE_S = 10.0
_OTHERS_S = 10.0  # for a worker with our bundle, once one that has another has refused
_REFUSED_PAUSE_S = 0.5
_FEW = 4  # requests in flight are no crowd: each is sent at once, and workers do not wait


@dataclass(frozen=True, slots=True)
class _Way:
    """There and back."""

    work: Queue
    outbox: Outbox
    replies: Replies
    silence: threading.Timer


class QueueExchange:
    """See Exchange. The work queue is found, and the queue for replies made, with the first request; those that others
    left behind are deleted meanwhile.

    A request that gets no reply is sent again under its id, each time after twice as long, and at first not before
    the queue itself would have given it to another worker. That makes a second reply at worst, which is dropped.

    A request that a worker refuses because it has not `bundle`, a hash, is sent anew: the refusal is the reply only if
    nobody else has answered anything for a while."""

    def __init__(self, address: str, settings: TailSettings | None = None, bundle: str = "") -> None:
        self.name = address
        self.advice = "check the network and the AWS settings"
        settings = settings or TailSettings()
        self._patience_s = settings.patience.answer_s * settings.patience.attempts
        self._again_s = settings.patience.answer_s
        self._say = settings.say
        self._bundle = bundle
        self._served_at: float | None = None
        self._told = False
        self._closed = threading.Event()
        self._way: _Way | None = None
        self._opening = threading.Lock()

    def room(self, request: Request) -> int:
        """See Exchange."""
        return room_in_message(request)

    def ask(self, request: Request, limit: int) -> Reply:
        """See Exchange. Raises TailUnreachable when no worker answers in all the time there is patience for."""
        try:
            reply = self._ask(self._open(), request)
        except AwsUnreachable as error:
            raise NoAnswer(str(error).rstrip(".")) from error
        except AwsRefused as error:
            raise TailRefused(str(error)) from error
        except CancelledError as error:
            raise NoAnswer("closed before") from error
        if len(reply.content) > limit:
            raise BadFrame(f"{self.name} answered {len(reply.content)} bytes, more than the {limit} that were due.")
        return reply

    def close(self) -> None:
        """See Exchange. Deletes the queue for replies."""
        self._closed.set()
        with self._opening:
            if self._way is not None:
                self._way.silence.cancel()
                self._way.replies.close()
                self._way.outbox.close()

    def _open(self) -> _Way:
        with self._opening:
            if self._closed.is_set():
                raise CancelledError
            if self._way is None:
                work = Queue.open(self.name.removeprefix(SCHEME))
                silence = threading.Timer(_SILENCE_S, self._tell_silence, [work.name])
                silence.daemon = True
                replies = Replies(work)
                self._way = _Way(work, Outbox(work), replies, silence)
                time.sleep(_SETTLE_S)  # whoever is interrupted here has what `close` must end
                silence.start()
                threading.Thread(target=tidy, args=[work], name="tidy", daemon=True).start()
            return self._way

    def _ask(self, way: _Way, request: Request) -> Reply:
        """A reply of a worker that has our bundle, if there is one."""
        began = time.monotonic()
        while True:
            reply = self._reply(way, request, began)
            if reply.status != HTTPStatus.CONFLICT:
                self._served_at = time.monotonic()
                return reply
            since, patience_s = (began, _OTHERS_S) if self._served_at is None else (self._served_at, self._again_s)
            if time.monotonic() - max(began, since) > patience_s:
                return reply
            self._tell_refusal(way.work.name, reply)
            if self._closed.wait(_REFUSED_PAUSE_S):
                raise CancelledError

    def _reply(self, way: _Way, request: Request, began: float) -> Reply:
        number = uuid.uuid4().hex
        message = write_request(request, number, way.replies.name, self._bundle)
        pause_s = max(self._again_s, 2.0 * way.work.visibility_s)
        with way.replies.expected(number) as reply:
            while (left_s := began + self._patience_s - time.monotonic()) > 0:
                way.outbox.send(message, hurry=way.replies.awaited <= _FEW)
                with suppress(TimeoutError):
                    incoming = reply.result(min(pause_s, left_s))
                    way.silence.cancel()
                    return read_reply(incoming, round((time.monotonic() - began) * 1e6))
                pause_s *= 2
        raise TailUnreachable(
            f"No worker answered on queue {way.work.name!r} within {self._patience_s:g} s; "
            f"start one: hybrid-batch worker --queue {way.work.name} MODEL."
        )

    def _tell_refusal(self, queue: str, reply: Reply) -> None:
        if not self._told:
            self._told = True
            self._say(f"A worker of queue {queue} refuses ({reply.message.rstrip('.')}); others are asked.")

    def _tell_silence(self, queue: str) -> None:
        self._say(
            f"Waiting for a worker of queue {queue}, at most {self._patience_s:g} s; "
            f"if none is starting, start one: hybrid-batch worker --queue {queue} MODEL."
        )


def queue_tail(address: str, bundle: Bundle, settings: TailSettings | None = None) -> ServedTail:
    """The tail behind `sqs:NAME` or `sqs:URL`: workers of that queue."""
    settings = settings or TailSettings()
    return ServedTail(QueueExchange(address, settings, bundle.sha256), bundle, settings)
