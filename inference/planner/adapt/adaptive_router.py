"""Follow the link: during a run, watch, plan again, and switch between batches without draining the pipeline.

Sharing needs no number: at its head a batch stays whole here whenever the tail already has as many batches as keep
it and the link busy. So the share is what it can be, whatever the speeds turn out to be. Switches need a gain beyond
the errors of measuring, seen twice, and either a link that became another one or half a minute since the last.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hybrid_batch.data.errors import HybridBatchError, TailUnreachable
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import WHOLE
from hybrid_batch.inference.planner.adapt.in_flight import Flights, now_us
from hybrid_batch.inference.planner.adapt.link_estimator import Seen, Watch
from hybrid_batch.inference.planner.adapt.probe import Probe
from hybrid_batch.inference.planner.adapt.transfers import Transfer
from hybrid_batch.inference.planner.plan.candidates import Candidate, Conditions
from hybrid_batch.inference.planner.plan.plan import Plan, Wishes, make_plan
from hybrid_batch.inference.planner.plan.prices import read_prices
from hybrid_batch.inference.planner.profile.profile import Profile
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.drain import TooLate
from hybrid_batch.inference.runner.routing import Route
from hybrid_batch.inference.runner.split import HERE, NO_CODEC, Split
from hybrid_batch.inference.tails import Tail

_TICK_S = 0.2
_GAIN, _OTHER_LINK, _DWELL_S = 1.15, 1.5, 30.0
_TRY_S = 1.0  # while all runs here, so often one image is sent to learn what the link would do
_MOST_BYTES = 64 << 20
_TELLING = 0.1  # of the whole model; of shorter parts overheads are told, which speeds do not scale
_GRACE_S = 1.0  # to end in; it may be asking a tail that does not answer


class Follower:
    """See Follow. `plan` is the plan now; `say` is told of switches and of a tail that went or came back."""

    def __init__(
        self, bundle: Bundle, profile: Profile, wishes: Wishes, tail: Tail, say: Callable[[str], None]
    ) -> None:
        self._bundle, self._profile, self._wishes, self._tail, self._say = bundle, profile, wishes, tail, say
        self._prices = read_prices()
        self._watch = Watch(profile, wishes.in_flight)
        self._lock = threading.Lock()
        self._conditions: Conditions | None = None
        self.plan = self._replanned(None)
        self._told = {_key(one): one for one in self.plan.candidates}
        self._now = dict(self._told)
        self._whole = self._told["local", NO_CODEC, 1]
        self._chosen = _key(self.plan.chosen)
        self._flights = Flights()
        self._left = 0
        self._away = False
        self._probe: Probe | None = None  # while it may come back
        self._switched_bps, self._switched_at = self._watch.link.rate_bps, -math.inf
        self._better = self.switches = 0
        self._trial: Candidate | None = None
        self._tried_at = 0.0

    def route(self) -> Route:
        """See Follow."""
        with self._lock:
            candidate, self._trial = self._trial or self._now[self._chosen], None
            return Route(HERE if self._away else candidate.split, candidate.batch)

    def admit(self, batch: Batch) -> Split:
        """See Follow."""
        with self._lock:
            self._left -= len(batch.images)
            if self._away or batch.split.cut is None or not self._worth_sending(batch):
                return HERE
            self._flights.expect(batch, self._told[self._key_of(batch)])
            return batch.split

    def sending(self, batch: Batch) -> None:
        """See Follow."""
        with self._lock:
            self._flights.leave(batch)

    def answered(self, batch: Batch) -> None:
        """See Follow."""
        with self._lock:
            flight = self._flights.end(batch)
            if not batch.good:
                return
            now, count = now_us(), len(batch.good)
            told = flight.told if flight else self._told[self._key_of(batch)]
            if told.head_us > _TELLING * self._whole.head_us:
                self._watch.head(batch.head_ns / 1000 / count / told.head_us)
            if flight is None or not flight.sent_us:
                return
            away_us = batch.tail_us + batch.queue_us + self._watch.link.round_trip_us
            ended_us = max(flight.sent_us + 50, now - away_us)
            transfer = Transfer(batch.sent_bytes, batch.received_bytes, flight.sent_us, ended_us)
            tail_us = batch.tail_us / count if told.tail_us > _TELLING * self._whole.head_us else told.tail_us
            self._watch.answer(Seen(count, tail_us, told.tail_us, transfer, now), batch.link_us)

    def lost(self, batch: Batch, error: Exception) -> None:
        """See Follow."""
        with self._lock:
            self._flights.end(batch)
            if self._away:
                return
            self._leave(error)
            self._watch.forget()
        self._say(f"{error} Going on here{' until it answers again' if self._probe else ''}.")

    @contextmanager
    def running(self, images: int, ready: Callable[[Split], None]) -> Iterator[None]:
        """See Follow."""
        self._left = images
        self._prepare(self.plan.chosen, ready)
        stop = threading.Event()
        follower = threading.Thread(target=self._follow, args=(stop, ready), name="follow", daemon=True)
        follower.start()
        try:
            yield
        finally:
            stop.set()
            follower.join(_GRACE_S)

    def _worth_sending(self, batch: Batch) -> bool:
        """Whether the tail has less to do than keeps it and the link busy, and can be done before this machine alone
        would have done the rest of the run."""
        if self._now[self._chosen].cut is None:  # a trial
            return not self._flights
        one = self._now[self._key_of(batch)]
        each_us, trip_us = max(one.away_us * one.batch, 1.0), (one.link_us + one.tail_us) * one.batch
        whole_us = 1e6 / self._now["local", NO_CODEC, one.batch].rate
        # Enough for link and tail together, and for the time in which this machine does a batch alone.
        room = max(math.ceil(trip_us / each_us), math.ceil(whole_us * one.batch / each_us)) + 1
        room = min(room, self._wishes.in_flight, max(2, int(_MOST_BYTES / (one.sent_bytes * one.batch))))
        left_us = (self._left + len(batch.images)) * whole_us
        return len(self._flights) < room and len(self._flights) * each_us + trip_us <= left_us

    def _key_of(self, batch: Batch) -> tuple[str, str, int]:
        """Of the smallest batch size measured that holds the batch."""
        size = min(
            (size for size in self._profile.times if size >= len(batch.images)), default=max(self._profile.times)
        )
        return batch.split.name, batch.split.codec, size

    def _follow(self, stop: threading.Event, ready: Callable[[Split], None]) -> None:
        while not stop.wait(_TICK_S):
            if self._away:
                self._look_for_it()
                continue
            with self._lock:
                self._watch.tell(*self._flights.silence(self._watch, self._usual_us), self._flights.waiting_since())
                conditions = self._watch.conditions
            if conditions != self._conditions:
                self.plan = self._replanned(conditions)
                with self._lock:
                    self._now = {_key(one): one for one in self.plan.candidates}
            try:
                self._switch(ready)
                self._try(ready)
            except TooLate:
                return
            except HybridBatchError as error:
                if stop.is_set():
                    return
                with self._lock:
                    self._leave(error)
                self._say(f"{error} Going on here.")

    def _replanned(self, conditions: Conditions | None) -> Plan:
        self._conditions = conditions
        return make_plan(self._bundle, self._profile, self._wishes, self._prices, conditions)

    def _usual_us(self, told: Candidate) -> float:
        """Between answers to batches like this, as things are now."""
        return self._now[_key(told)].away_us * told.batch

    def _switch(self, ready: Callable[[Split], None]) -> None:
        """To the plan's candidate, if it has been better for long enough and the last switch is long ago."""
        chosen, current = self.plan.chosen, self._now[self._chosen]
        bps = self._watch.link.rate_bps
        other = not 1 / _OTHER_LINK < bps / max(self._switched_bps, 1) < _OTHER_LINK
        due = other or time.monotonic() - self._switched_at > _DWELL_S
        self._better = self._better + 1 if due and chosen.shared_rate > _GAIN * current.shared_rate else 0
        if self._better < 2:
            return
        self._prepare(chosen, ready)
        with self._lock:
            self._chosen, self._better = _key(chosen), 0
            self._switched_bps, self._switched_at = bps, time.monotonic()
            self._watch.forget()
        self.switches += 1
        self._say(f"The link is {self._watch.link.told} now: {self.plan.why}")

    def _try(self, ready: Callable[[Split], None]) -> None:
        """While all runs here, now and then send a smallest batch, to learn when that is no longer best."""
        sending, speed = self.plan.sending, self._profile.tail
        if self._now[self._chosen].cut is not None or sending is None or speed is None or speed.shares_cores:
            return
        if time.monotonic() - self._tried_at > _TRY_S:
            trial = self._now[sending.split.name, sending.codec, min(self._profile.times)]
            self._prepare(trial, ready)
            with self._lock:
                self._trial, self._tried_at = trial, time.monotonic()

    def _prepare(self, candidate: Candidate, ready: Callable[[Split], None]) -> None:
        """Compile here and there before the first batch goes that way."""
        ready(candidate.split)
        if candidate.cut is not None:
            self._tail.check(candidate.cut.id)

    def _leave(self, error: Exception) -> None:
        self._away, self._probe = True, Probe(self._tail) if isinstance(error, TailUnreachable) else None

    def _look_for_it(self) -> None:
        cut = self._now[self._chosen].cut
        try:
            if self._probe is None or not self._probe.finds(cut.id if cut else WHOLE):
                return
        except HybridBatchError as error:
            self._probe = None
            self._say(f"{error} Going on here.")
            return
        with self._lock:
            self._away = False
        self._say("The tail answers again.")


def _key(candidate: Candidate) -> tuple[str, str, int]:
    return candidate.split.name, candidate.codec, candidate.batch
