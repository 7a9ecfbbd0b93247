"""The estimator of an adaptive run: present conditions, from the batches that pass."""

from hybrid_batch.inference.planner.adapt.in_flight import InFlightBatches, now_us
from hybrid_batch.inference.planner.adapt.link_estimator import LinkEstimator, Observation, Transfer
from hybrid_batch.inference.planner.adapt.replanner import Predictions
from hybrid_batch.inference.planner.plan.cost_model import Conditions
from hybrid_batch.inference.planner.profile.profile import Link, Profile
from hybrid_batch.inference.runner.batch import Batch

_MIN_SHARE = 0.1  # of the whole model; times of shorter parts are mostly overhead, which does not scale with speed
_MIN_TRANSFER_US = 50


class ConditionsEstimator:
    """Compares the times of batches with the profile's predictions. Not thread-safe."""

    def __init__(self, profile: Profile, predictions: Predictions, in_flight: int) -> None:
        self._predictions = predictions
        self._min_us = _MIN_SHARE * predictions.local(predictions.smallest_batch).times.head_us
        self._link_estimator = LinkEstimator(profile, in_flight)
        self._in_flight = InFlightBatches()

    @property
    def link(self) -> Link:
        """The present estimate of the link."""
        return self._link_estimator.link

    @property
    def in_flight(self) -> int:
        """The number of batches that were admitted for the tail and have no response yet."""
        return len(self._in_flight)

    def on_admit(self, batch: Batch) -> None:
        """Record that a batch will be sent."""
        self._in_flight.add(batch, self._predictions.of_batch(batch))

    def on_send(self, batch: Batch, frame_bytes: int) -> None:
        """Record that an admitted batch is sent now."""
        self._in_flight.mark_sent(batch, frame_bytes)

    def on_failure(self, batch: Batch) -> None:
        """Record that an admitted batch got no response."""
        self._in_flight.remove(batch)

    def on_response(self, batch: Batch) -> None:
        """Observe the times of a batch that has its results, from the tail or from this machine."""
        entry = self._in_flight.remove(batch)
        images = len(batch.ok_positions)
        if not images:
            return
        received_us = now_us()
        predicted = (entry.predicted if entry else self._predictions.of_batch(batch)).times
        if predicted.head_us > self._min_us:
            self._link_estimator.observe_head(batch.head_ns / 1000 / images / predicted.head_us)
        if entry is None or not entry.sent_us:
            return
        off_link_us = batch.tail_us + batch.queue_us + self.link.round_trip_us
        end_us = max(entry.sent_us + _MIN_TRANSFER_US, received_us - off_link_us)
        transfer = Transfer(batch.sent_bytes, batch.received_bytes, entry.sent_us, end_us)
        tail_us = batch.tail_us / images if predicted.tail_us > self._min_us else predicted.tail_us
        observation = Observation(images, tail_us, predicted.tail_us, transfer, received_us)
        self._link_estimator.observe_response(observation, batch.link_us)

    def estimate(self, current: Predictions) -> Conditions:
        """The present conditions, from the responses and from their absence. `current` are the predictions under the
        last conditions."""
        stall_us, stalled_bytes = self._in_flight.stall(
            self._link_estimator, lambda predicted: current.matching(predicted).remote_us * predicted.batch
        )
        self._link_estimator.update(stall_us, stalled_bytes, self._in_flight.oldest_sent_us())
        return self._link_estimator.conditions

    def reset(self) -> None:
        """Discard the responses, because the tail was unreachable or the split has changed."""
        self._link_estimator.reset()
