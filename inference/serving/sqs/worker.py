"""A worker of a work queue: several threads receive requests, compute them with one RequestHandler and send replies.

While one thread computes, another sends its replies and a third receives. A worker that is killed loses nothing: SQS
delivers a message that was not deleted to another worker, and clients drop a second reply.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from hybrid_batch.data.aws.queue import MAX_BATCH_ENTRIES, ReceivedMessage, SqsQueue
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, InvalidFrame, QueueNotFound
from hybrid_batch.inference.protocol.spill import Spill
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.serving.replies import print_traceback
from hybrid_batch.inference.serving.request_handler import RequestHandler
from hybrid_batch.inference.serving.sqs.queued_request import QueuedRequest
from hybrid_batch.inference.serving.sqs.visibility_lease import VisibilityLease

_THREADS = 3
_POLL_S = 2  # delays a stop by as much; polling an empty queue at this rate costs 0.50 USD a month
_PREFETCH_S = 0.25  # of work is received at once: no other worker can do it, and a kill delays it
_REPORT_S = 10.0
_TICK_S = 0.5  # Python handles a signal that arrives just before a wait only after the wait
_PAUSE_S = 1.0
_YIELD_S = 2.0
_MAX_RECEIVES = 10  # of a message without a valid id or reply queue, where no dead-letter queue takes it earlier


@dataclass(frozen=True, slots=True)
class ShutdownPolicy:
    """After `stop` received requests have `shutdown_timeout_s` to finish. The worker stops by itself after it received
    nothing for `idle_timeout_s`, if given."""

    shutdown_timeout_s: float = 20.0
    idle_timeout_s: float | None = None


@dataclass(slots=True)
class WorkerStats:
    """Numbers of requests: answered, answered with an error, and dropped because their client is gone or the message
    is invalid."""

    answered: int = 0
    refused: int = 0
    dropped: int = 0


class QueueWorker:
    """Works for one queue. `notify` is called with lines on its progress. Replies too large for a message are stored in
    `spill`, if given."""

    def __init__(
        self,
        queue: SqsQueue,
        handler: RequestHandler,
        notify: Callable[[str], None],
        shutdown: ShutdownPolicy | None = None,
        spill: Spill | None = None,
    ) -> None:
        self._queue, self._handler, self._notify, self._spill = queue, handler, notify, spill
        self._shutdown = shutdown or ShutdownPolicy()
        self._lease = VisibilityLease(queue)
        self._receiving, self._computing, self._counting = (threading.Lock() for _ in range(3))
        self._stopped = threading.Event()
        self._failure: AwsRefused | None = None
        self._stats = WorkerStats()
        self._mismatch_notified = False
        self._max_messages = 1
        idle_timeout_s = self._shutdown.idle_timeout_s
        self._wait_s = _POLL_S if idle_timeout_s is None or idle_timeout_s >= _POLL_S else 1
        self._last_work = time.monotonic()

    def run(self) -> WorkerStats:
        """Work until stopped, then release requests that are not finished within the shutdown timeout. Raises
        AwsRefused if the queue cannot be used."""
        threads = [threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(_THREADS)]
        with self._lease:
            for thread in threads:
                thread.start()
            reported, due = WorkerStats(), time.monotonic() + _REPORT_S
            while not self._stopped.wait(_TICK_S):
                if time.monotonic() >= due:
                    reported, due = self._report(reported), due + _REPORT_S
            end = time.monotonic() + self._shutdown.shutdown_timeout_s
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
            if self._receiving.acquire(timeout=2 * _POLL_S):  # or a thread would receive what is released
                self._receiving.release()
        if self._failure is not None:
            raise self._failure
        return self._stats

    def stop(self) -> None:
        """Receive no further requests. For other threads; not for signal handlers, which may hold its lock."""
        self._stopped.set()

    def _work(self) -> None:
        """The loop of each thread."""
        while not self._stopped.is_set():
            messages: list[ReceivedMessage] = []
            try:
                messages = self._receive()
                requests = list(self._parse(messages))
                for together in _groups(requests):
                    self._process(together)
                if requests and all(request.needs_other_bundle for request in requests):
                    self._yield_to_others()
            except AwsUnreachable as error:
                self._notify(str(error))
                self._stopped.wait(_PAUSE_S)
            except AwsRefused as error:
                self._failure = error
                self._stopped.set()
            except Exception as error:
                print_traceback(error)  # a defect that one message exposes must not stop the work on others
            finally:
                # Unfinished messages become visible after their timeout, and finally go to the dead-letter queue.
                self._lease.forget([message.receipt_handle for message in messages])

    def _receive(self) -> list[ReceivedMessage]:
        """Receive the next messages, about _PREFETCH_S of work; none if the queue stays empty for the poll's time."""
        with self._receiving:
            if self._stopped.is_set():
                return []
            messages = self._queue.receive(self._max_messages, self._wait_s)
            self._lease.track(messages)
        idle_timeout_s = self._shutdown.idle_timeout_s
        if messages or len(self._lease):
            self._last_work = time.monotonic()
        elif idle_timeout_s is not None and time.monotonic() - self._last_work >= idle_timeout_s:
            self._stopped.set()
        return messages

    def _parse(self, messages: Sequence[ReceivedMessage]) -> Iterator[QueuedRequest]:
        """The requests that can be answered."""
        for message in messages:
            try:
                yield QueuedRequest.parse(message, self._queue.name, self._handler.bundle)
            except InvalidFrame as error:
                self._notify(str(error))
                if message.receive_count >= _MAX_RECEIVES:
                    self._drop([message.receipt_handle])

    def _process(self, queued: Sequence[QueuedRequest]) -> None:
        """Compute requests and send their replies, one message batch for each client."""
        requests = [one.parsed for one in queued if isinstance(one.parsed, Request)]
        # One thread at a time, as runtimes work: so the measured time is that of these requests alone.
        with self._computing:
            start = time.perf_counter()
            computed = iter(self._handler.handle_all(requests))
            spent_s = time.perf_counter() - start
        if requests:
            self._max_messages = max(1, min(MAX_BATCH_ENTRIES, int(len(requests) * _PREFETCH_S / spent_s)))
        clients: defaultdict[str, list[tuple[QueuedRequest, Reply]]] = defaultdict(list)
        for one in queued:
            reply = one.parsed if isinstance(one.parsed, Reply) else next(computed)
            clients[one.reply_to].append((one, reply))
        for reply_queue, replies in clients.items():
            self._send(reply_queue, replies)

    def _send(self, reply_queue: str, replies: Sequence[tuple[QueuedRequest, Reply]]) -> None:
        """Send replies to a client, then delete their requests. A reply queue that does not exist belongs to a client
        that is gone, or is so new that not all of SQS knows it: the second delivery of the request decides."""
        try:
            self._queue.sibling(reply_queue).send([one.encode_reply(reply, self._spill) for one, reply in replies])
        except QueueNotFound:
            self._drop([one.receipt_handle for one, _ in replies if one.receive_count > 1])
        except AwsRefused as error:
            self._notify(str(error))
        else:
            self._lease.delete([one.receipt_handle for one, _ in replies])
            refused = sum(reply.status != HTTPStatus.OK for _, reply in replies)
            with self._counting:
                self._stats.answered += len(replies) - refused
                self._stats.refused += refused

    def _yield_to_others(self) -> None:
        """Receive nothing for a while. Rejecting a request is much faster than computing it: without a pause, a worker
        with the wrong bundle would receive nearly all requests."""
        if not self._mismatch_notified:
            self._mismatch_notified = True
            bundle = self._handler.bundle
            self._notify(
                f"Requests on queue {self._queue.name} are for another bundle than {bundle.name} "
                f"({bundle.sha256[:12]}); leaving them to other workers."
            )
        with self._receiving:
            self._stopped.wait(_YIELD_S)

    def _drop(self, handles: Sequence[str]) -> None:
        """Delete requests that have no client."""
        self._lease.delete(handles)
        with self._counting:
            self._stats.dropped += len(handles)

    def _report(self, reported: WorkerStats) -> WorkerStats:
        with self._counting:
            now = replace(self._stats)
        if now != reported:
            self._notify(f"{now.answered:,} requests answered, {now.refused:,} refused, {now.dropped:,} dropped.")
        return now


def _groups(requests: Sequence[QueuedRequest]) -> Iterator[list[QueuedRequest]]:
    """The requests that are computed together: those inline in their messages. Each request stored in S3, which may be
    large, is computed alone."""
    for request in requests:
        if not request.is_inline:
            yield [request]
    if inline := [request for request in requests if request.is_inline]:
        yield inline
