"""The router of an adaptive run: estimates the conditions, plans again, and switches the split between batches.

The runner's threads route and observe batches; a thread of the router's own estimates, plans, switches and probes.
Batches in the pipeline keep their split, so a switch does not drain it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import INPUT_CUT
from hybrid_batch.inference.planner.adapt.estimator import ConditionsEstimator
from hybrid_batch.inference.planner.adapt.policy import SwitchPolicy, TrialPolicy, is_worth_sending
from hybrid_batch.inference.planner.adapt.prober import TailProber
from hybrid_batch.inference.planner.adapt.replanner import Replanner
from hybrid_batch.inference.planner.plan.candidates import Candidate
from hybrid_batch.inference.planner.plan.cost_model import Conditions
from hybrid_batch.inference.planner.plan.explanation import describe_change
from hybrid_batch.inference.planner.plan.plan import Plan, PlanRequest, make_plan
from hybrid_batch.inference.planner.plan.prices import read_prices
from hybrid_batch.inference.planner.profile.profile import Profile
from hybrid_batch.inference.runner.batch import Batch
from hybrid_batch.inference.runner.pipeline import Draining
from hybrid_batch.inference.runner.routing import Route
from hybrid_batch.inference.runner.split import LocalSplit, Split
from hybrid_batch.inference.tails import Tail

_TICK_S = 0.2
_JOIN_S = 1.0  # for a thread that may be waiting for a tail


class AdaptiveRouter:
    """See Router. `switches` counts the changes of the split; `notify` receives a line for the user for each of them,
    and when the tail fails or responds again."""

    def __init__(
        self, bundle: Bundle, profile: Profile, request: PlanRequest, tail: Tail, notify: Callable[[str], None]
    ) -> None:
        prices = read_prices()
        assert profile.tail is not None  # noqa: S101 - only a profile with a tail has a link
        self._replanner = Replanner(
            lambda conditions: make_plan(bundle, profile, request, prices, conditions), Conditions(profile.tail.link)
        )
        self._estimator = ConditionsEstimator(profile, self._replanner.predictions, request.in_flight)
        self._switch_policy = SwitchPolicy(self._estimator.link.rate_bps)
        self._trial_policy = TrialPolicy(shares_cores=profile.tail is not None and profile.tail.shares_cores)
        self._prober = TailProber(tail)
        self._tail, self._notify, self._max_in_flight = tail, notify, request.in_flight
        self._lock = threading.Lock()  # for the estimator, changes of the prober, and the following
        self._chosen, self._reason = self.plan.chosen, self.plan.sentence
        self._trial: Candidate | None = None
        self._images_left = 0
        self._switched_at = self._replanner.conditions
        self.switches = 0

    @property
    def plan(self) -> Plan:
        """The present plan."""
        return self._replanner.plan

    @property
    def fixed_split(self) -> None:
        """See Router."""

    @property
    def reason(self) -> str:
        """See Router. The reason for the candidate in use, which a later plan may rank lower."""
        return self._reason

    def route(self) -> Route:
        """See Router."""
        with self._lock:
            candidate, self._trial = self._trial or self._chosen, None
            return Route(candidate.split if self._prober.is_usable else LocalSplit(), candidate.batch)

    def admit(self, batch: Batch) -> Split:
        """See Router."""
        with self._lock:
            self._images_left -= len(batch.images)
            if isinstance(batch.split, LocalSplit) or not self._prober.is_usable or not self._is_worth_sending(batch):
                return LocalSplit()
            self._estimator.on_admit(batch)
            return batch.split

    def on_send(self, batch: Batch, frame_bytes: int) -> None:
        """See Router."""
        with self._lock:
            self._estimator.on_send(batch, frame_bytes)

    def on_response(self, batch: Batch) -> None:
        """See Router."""
        with self._lock:
            self._estimator.on_response(batch)

    def on_failure(self, batch: Batch, error: Exception) -> None:
        """See Router."""
        with self._lock:
            self._estimator.on_failure(batch)
            if not self._prober.is_usable:
                return
            self._prober.on_failure(error)
            self._estimator.reset()
        until = " until the tail responds again" if self._prober.is_probing else ""
        self._notify(f"{error} Running locally{until}.")

    @contextmanager
    def session(self, images: int, compile_split: Callable[[Split], None]) -> Iterator[None]:
        """See Router."""
        self._images_left = images
        self._prepare(self._chosen, compile_split)
        stop = threading.Event()
        thread = threading.Thread(target=self._adapt, args=(stop, compile_split), name="adapt", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(_JOIN_S)

    def _is_worth_sending(self, batch: Batch) -> bool:
        if self._chosen.cut is None:  # a trial
            return not self._estimator.in_flight
        predictions = self._replanner.predictions
        remote = predictions.of_batch(batch)
        return is_worth_sending(
            remote,
            predictions.local(remote.batch),
            queued=self._estimator.in_flight,
            max_queued=self._max_in_flight,
            images=len(batch.images),
            images_left=self._images_left,
        )

    def _adapt(self, stop: threading.Event, compile_split: Callable[[Split], None]) -> None:
        """Until `stop` is set or the run drains, probe an unusable tail, or estimate, plan, switch and try."""
        while not stop.wait(_TICK_S):
            if not self._prober.is_usable:
                self._probe()
                continue
            with self._lock:
                conditions = self._estimator.estimate(self._replanner.predictions)
            self._replanner.update(conditions)
            try:
                self._switch(compile_split)
                self._try_tail(compile_split)
            except Draining:
                return
            except HybridBatchError as error:
                if stop.is_set():
                    return
                with self._lock:
                    self._prober.on_failure(error)
                self._notify(f"{error} Running locally.")

    def _switch(self, compile_split: Callable[[Split], None]) -> None:
        """Switch to the plan's candidate if the policy allows it."""
        best, current = self.plan.chosen, self._replanner.predictions.matching(self._chosen)
        rate_bps = self._estimator.link.rate_bps
        if not self._switch_policy.should_switch(best, current, rate_bps, time.monotonic()):
            return
        self._prepare(best, compile_split)
        with self._lock:
            self._chosen, self._reason = best, self.plan.sentence
            self._switch_policy.on_switch(rate_bps, time.monotonic())
            self._estimator.reset()
        self.switches += 1
        change = describe_change(self._switched_at, self._replanner.conditions)
        self._switched_at = self._replanner.conditions
        self._notify(f"{change[0].upper()}{change[1:]}: {self.plan.reason}")

    def _try_tail(self, compile_split: Callable[[Split], None]) -> None:
        """While the run is local, occasionally send a batch of the smallest size, to learn when sending is better."""
        best = self.plan.best_remote
        if best is None or not self._trial_policy.should_try(self._chosen, time.monotonic()):
            return
        trial = self._replanner.predictions.find(best.split, self._replanner.predictions.smallest_batch)
        self._prepare(trial, compile_split)
        with self._lock:
            self._trial = trial
        self._trial_policy.on_trial(time.monotonic())

    def _prepare(self, candidate: Candidate, compile_split: Callable[[Split], None]) -> None:
        """Have both ends compile the candidate's split before the first batch uses it."""
        compile_split(candidate.split)
        if candidate.cut is not None:
            self._tail.check(candidate.cut.id)

    def _probe(self) -> None:
        cut_id = self._chosen.cut.id if self._chosen.cut else INPUT_CUT
        try:
            if not self._prober.is_back(cut_id):
                return
        except HybridBatchError as error:
            self._notify(f"{error} Running locally.")
            return
        with self._lock:
            self._prober.resume()
        self._notify("The tail responds again.")
