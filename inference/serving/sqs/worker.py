"""A worker of a queue: takes requests from it, answers them with the tails of one bundle, until told to stop.

Several lanes do the same at once: while one computes, another sends its replies and a third receives. A worker that
is killed loses nothing, for the queue gives to another what was not deleted; what is answered twice the client drops.
"""

import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from hybrid_batch.data.aws.queue import MOST_TOGETHER, Incoming, Queue
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, BadFrame, QueueGone
from hybrid_batch.inference.protocol.spill import Spill
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.serving.request_handler import Endpoint
from hybrid_batch.inference.serving.sqs.queued_request import Letter
from hybrid_batch.inference.serving.sqs.visibility_lease import Holding

_LANES = 3
_POLL_S = 2  # as long a worker that is told to stop may wait; to ask an empty queue so often costs 0.50 USD a month
_AHEAD_S = 0.25  # of work is taken at once: what one worker holds no other can do, and is delayed if that is killed
_REPORT_S = 10.0
_TICK_S = 0.5  # Python hears a signal that comes just before a wait only after it
_PAUSE_S = 1.0
_ASIDE_S = 2.0
_MOST_RECEIPTS = 10  # where no dead-letter queue takes messages away earlier


@dataclass(frozen=True, slots=True)
class Stopping:
    """When a worker stops: what it has in hand when told to it finishes within `grace_s`; by itself it stops when
    nothing came for `idle_s`, if that is given."""

    grace_s: float = 20.0
    idle_s: float | None = None


@dataclass(slots=True)
class Totals:
    """Requests by what became of them: answered, answered with an error, and those that nobody waited for or that
    could not be answered."""

    answered: int = 0
    refused: int = 0
    dropped: int = 0


class QueueWorker:
    """Works for one queue; `say` is told how it goes."""

    def __init__(
        self,
        queue: Queue,
        endpoint: Endpoint,
        say: Callable[[str], None],
        stopping: Stopping | None = None,
        spill: Spill | None = None,
    ) -> None:
        self._queue, self._endpoint, self._say, self._spill = queue, endpoint, say, spill
        self._when = stopping or Stopping()
        self._holding = Holding(queue)
        self._receiving, self._computing, self._counting = (threading.Lock() for _ in range(3))
        self._stopped = threading.Event()
        self._failure: AwsRefused | None = None
        self._totals = Totals()
        self._told = False
        self._at_once = 1
        self._wait_s = _POLL_S if self._when.idle_s is None or self._when.idle_s >= _POLL_S else 1
        self._busy = time.monotonic()

    def run(self) -> Totals:
        """Work until told to stop; what is in hand after the grace is given back to the queue. Raises AwsRefused when
        the queue cannot be used."""
        lanes = [threading.Thread(target=self._work, name=f"lane-{number}", daemon=True) for number in range(_LANES)]
        with self._holding:
            for lane in lanes:
                lane.start()
            said, due = Totals(), time.monotonic() + _REPORT_S
            while not self._stopped.wait(_TICK_S):
                if time.monotonic() >= due:
                    said, due = self._report(said), due + _REPORT_S
            end = time.monotonic() + self._when.grace_s
            for lane in lanes:
                lane.join(max(0.0, end - time.monotonic()))
            if self._receiving.acquire(timeout=2 * _POLL_S):  # or a lane would receive what is given back
                self._receiving.release()
        if self._failure is not None:
            raise self._failure
        return self._totals

    def stop(self) -> None:
        """Take nothing more; for signal handlers and other threads."""
        self._stopped.set()

    def _work(self) -> None:
        """What every lane does."""
        while not self._stopped.is_set():
            messages: list[Incoming] = []
            try:
                messages = self._receive()
                letters = list(self._letters(messages))
                for together in _groups(letters):
                    self._answer(together)
                if letters and all(letter.is_for_others for letter in letters):
                    self._step_aside()
            except AwsUnreachable as error:
                self._say(str(error))
                self._stopped.wait(_PAUSE_S)
            except AwsRefused as error:
                self._failure = error
                self._stopped.set()
            except Exception:
                traceback.print_exc()  # a mistake of ours with this message must not end the work on others
            finally:
                # What was not finished is shown again in its own time, and at last goes to the dead-letter queue.
                self._holding.let_go([message.handle for message in messages])

    def _receive(self) -> list[Incoming]:
        """The next messages, no more than are worked off in a moment; none when nothing came for a while."""
        with self._receiving:
            if self._stopped.is_set():
                return []
            messages = self._queue.receive(self._at_once, self._wait_s)
            self._holding.take(messages)
        if messages or len(self._holding):
            self._busy = time.monotonic()
        elif self._when.idle_s is not None and time.monotonic() - self._busy >= self._when.idle_s:
            self._stopped.set()
        return messages

    def _letters(self, messages: Sequence[Incoming]) -> Iterator[Letter]:
        """What can be answered."""
        for message in messages:
            try:
                yield Letter.read(message, self._queue.name, self._endpoint.bundle)
            except BadFrame as error:
                self._say(str(error))
                if message.receipts >= _MOST_RECEIPTS:
                    self._drop([message.handle])

    def _answer(self, letters: Sequence[Letter]) -> None:
        requests = [letter.asked for letter in letters if isinstance(letter.asked, Request)]
        # One at a time, as engines work: so the time spent is that of these requests.
        with self._computing:
            began = time.perf_counter()
            replies = iter(self._endpoint.answer_all(requests))
            spent_s = time.perf_counter() - began
        if requests:
            self._at_once = max(1, min(MOST_TOGETHER, int(len(requests) * _AHEAD_S / spent_s)))
        clients: defaultdict[str, list[tuple[Letter, Reply]]] = defaultdict(list)
        for letter in letters:
            reply = letter.asked if isinstance(letter.asked, Reply) else next(replies)
            clients[letter.reply_to].append((letter, reply))
        for name, answers in clients.items():
            self._reply(name, answers)

    def _reply(self, name: str, answers: Sequence[tuple[Letter, Reply]]) -> None:
        """Send replies to a client, and only then delete what they answer. A client that is not there is gone, or so
        new that not all of SQS knows its queue: that shows at the next receipt."""
        try:
            self._queue.sibling(name).send([letter.answer(reply, self._spill) for letter, reply in answers])
        except QueueGone:
            self._drop([letter.handle for letter, _ in answers if letter.receipts > 1])
        except AwsRefused as error:
            self._say(str(error))
        else:
            self._holding.finish([letter.handle for letter, _ in answers])
            refused = sum(reply.status != HTTPStatus.OK for _, reply in answers)
            with self._counting:
                self._totals.answered += len(answers) - refused
                self._totals.refused += refused

    def _step_aside(self) -> None:
        """Leave requests for another bundle to workers that have it: to refuse is so quick that of two workers the
        wrong one would get nearly all."""
        if not self._told:
            self._told = True
            bundle = self._endpoint.bundle
            self._say(
                f"Requests on queue {self._queue.name} are for another bundle than {bundle.name} "
                f"({bundle.sha256[:12]}); they are left to other workers."
            )
        with self._receiving:
            self._stopped.wait(_ASIDE_S)

    def _drop(self, handles: Sequence[str]) -> None:
        """Delete what nobody waits for."""
        self._holding.finish(handles)
        with self._counting:
            self._totals.dropped += len(handles)

    def _report(self, said: Totals) -> Totals:
        with self._counting:
            now = replace(self._totals)
        if now != said:
            self._say(f"{now.answered:,} requests answered, {now.refused:,} refused, {now.dropped:,} dropped.")
        return now


def _groups(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """What is answered together: all that is here, and alone what lies in S3 and may be large."""
    for letter in letters:
        if not letter.is_light:
            yield [letter]
    if light := [letter for letter in letters if letter.is_light]:
        yield light


if __name__ == "__main__":
    from hybrid_batch.inference.serving.sqs.main import main

    main()
