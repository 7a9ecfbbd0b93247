"""The transport through an SQS work queue: workers receive the requests and send replies to the client's own queue."""

import threading
import time
import uuid
from concurrent.futures import CancelledError
from contextlib import suppress
from http import HTTPStatus

from hybrid_batch.data.aws.queue import SqsQueue
from hybrid_batch.data.backoff import Backoff
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, InvalidFrame, TailRefused, TailUnreachable
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.message import max_message_content_bytes, parse_reply, request_message
from hybrid_batch.inference.protocol.transport import NoResponse, Reply, Request
from hybrid_batch.inference.tails.remote import RemoteTail
from hybrid_batch.inference.tails.settings import TailSettings
from hybrid_batch.inference.tails.sqs.session import SqsSession

SCHEME = "sqs:"
_MATCH_S = 10.0  # for a worker with this bundle to reply, after one with another bundle has refused
_REFUSED_PAUSE_S = 0.5


class SqsTransport:
    """See Transport. The first request opens the work queue and starts the session.

    A request without a reply is sent again under its id: first after the response timeout, or twice the queue's
    visibility timeout if that is longer, so that SQS has already delivered it to another worker; then after intervals
    that double. The worst result is a second reply, which is dropped.

    A request that a worker refuses because it has another bundle than `bundle`, a hash, is sent again under a new id.
    The refusal becomes the reply only if no other worker has replied for a while."""

    def __init__(self, address: str, settings: TailSettings | None = None, bundle: str = "") -> None:
        self.name = address
        self.hint = "check the network and the AWS settings"
        settings = settings or TailSettings()
        self._response_timeout_s = settings.retries.response_timeout_s
        all_attempts_s = settings.retries.response_timeout_s * settings.retries.attempts
        self._timeout_s = max(all_attempts_s, settings.retries.patience_s)
        self._notify = settings.notify
        self._bundle = bundle
        self._last_accepted: float | None = None
        self._refusal_notified = False
        self._closed = threading.Event()
        self._session: SqsSession | None = None
        self._opening = threading.Lock()

    def max_content_bytes(self, request: Request) -> int:
        """See Transport."""
        return max_message_content_bytes(request)

    def send(self, request: Request, limit: int) -> Reply:
        """See Transport. Raises TailUnreachable if no worker replies within the response timeout of all attempts."""
        try:
            reply = self._send(self._open(), request)
        except AwsUnreachable as error:
            raise NoResponse(str(error).rstrip(".")) from error
        except AwsRefused as error:
            raise TailRefused(str(error)) from error
        except CancelledError as error:
            raise NoResponse("the tail was closed") from error
        if len(reply.content) > limit:
            raise InvalidFrame(f"{self.name} sent {len(reply.content)} bytes, more than the {limit} bytes expected.")
        return reply

    def close(self) -> None:
        """See Transport. Deletes the reply queue."""
        self._closed.set()
        with self._opening:
            if self._session is not None:
                self._session.stop()

    def _open(self) -> SqsSession:
        with self._opening:
            if self._closed.is_set():
                raise CancelledError
            if self._session is None:
                work = SqsQueue.open(self.name.removeprefix(SCHEME))
                # Kept before it starts, so that `close` stops it after an interrupt during the start.
                self._session = SqsSession(work, self._notify_no_worker)
                self._session.start()
            return self._session

    def _send(self, session: SqsSession, request: Request) -> Reply:
        """The reply of a worker with this bundle, if one comes; otherwise the refusal of another worker."""
        start = time.monotonic()
        while True:
            reply = self._send_until_reply(session, request, start)
            if reply.status != HTTPStatus.CONFLICT:
                self._last_accepted = time.monotonic()
                return reply
            accepted, patience_s = self._last_accepted, self._response_timeout_s
            if accepted is None:
                accepted, patience_s = start, _MATCH_S
            if time.monotonic() - max(start, accepted) > patience_s:
                return reply
            self._notify_refusal(reply)
            if self._closed.wait(_REFUSED_PAUSE_S):
                raise CancelledError

    def _send_until_reply(self, session: SqsSession, request: Request, start: float) -> Reply:
        """Send a request, again and again, until a worker replies. Raises TailUnreachable."""
        request_id = uuid.uuid4().hex
        message = request_message(request, request_id, session.reply_queue_name, self._bundle)
        pauses = Backoff(max(self._response_timeout_s, 2.0 * session.work.visibility_s)).pauses()
        with session.expect(request_id) as reply:
            while (left_s := start + self._timeout_s - time.monotonic()) > 0:
                session.send(message)
                with suppress(TimeoutError):
                    received = reply.result(min(next(pauses), left_s))
                    session.worker_replied()
                    return parse_reply(received, round((time.monotonic() - start) * 1e6))
        raise TailUnreachable(
            f"No worker answered on queue {session.work.name!r} within {self._timeout_s:g} s; "
            f"start one: hybrid-batch worker --queue {session.work.name} MODEL."
        )

    def _notify_refusal(self, reply: Reply) -> None:
        if not self._refusal_notified:
            self._refusal_notified = True
            self._notify(f"A worker of {self.name} refused ({reply.message.rstrip('.')}); trying other workers.")

    def _notify_no_worker(self) -> None:
        queue = self.name.removeprefix(SCHEME).rpartition("/")[2]
        self._notify(
            f"Waiting up to {self._timeout_s:g} s for a worker of queue {queue}; "
            f"if none is starting, start one: hybrid-batch worker --queue {queue} MODEL."
        )


def open_sqs_tail(address: str, bundle: Bundle, settings: TailSettings | None = None) -> RemoteTail:
    """Open the tail at `sqs:NAME` or `sqs:URL` of a work queue."""
    settings = settings or TailSettings()
    return RemoteTail(SqsTransport(address, settings, bundle.sha256), bundle, settings)
