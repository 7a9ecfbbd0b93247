"""The decisions of an adaptive run: which batches to send, when to switch the split, and when to try the tail.

The share of batches to send is not planned. A batch runs locally whenever the tail already has enough batches to keep
itself and the link busy, so the share adjusts itself to the true speeds.
"""

import math

from hybrid_batch.inference.planner.plan.candidates import Candidate

_MIN_GAIN = 1.15  # in rate, beyond the measurement error
_CONFIRMATIONS = 2
_LINK_CHANGE = 1.5  # in rate
_DWELL_S = 30.0
_TRIAL_PAUSE_S = 1.0
_MAX_QUEUED_BYTES = 64 << 20


def is_worth_sending(
    remote: Candidate, local: Candidate, *, queued: int, max_queued: int, images: int, images_left: int
) -> bool:
    """Whether to send a batch of `images` instead of running it locally, while `queued` batches are at the tail.

    The tail must need more batches to stay busy, and must finish them before this machine alone would finish the run,
    which has `images_left` besides this batch. `remote` and `local` are predictions for the batch."""
    interval_us = max(remote.remote_us * remote.batch, 1.0)
    trip_us = (remote.times.link_us + remote.times.tail_us) * remote.batch
    local_image_us = 1e6 / local.rate
    # Enough batches for the link and the tail together, and for the time in which this machine runs one batch.
    needed = max(math.ceil(trip_us / interval_us), math.ceil(local_image_us * remote.batch / interval_us)) + 1
    fitting = max(2, int(_MAX_QUEUED_BYTES / (remote.sent_bytes * remote.batch)))
    local_run_us = (images_left + images) * local_image_us
    return queued < min(needed, max_queued, fitting) and queued * interval_us + trip_us <= local_run_us


class SwitchPolicy:
    """Allows a switch of the split when its gain exceeds the measurement error in two successive checks, and either the
    link's rate has changed by a factor of 1.5 or the last switch was 30 seconds ago."""

    def __init__(self, rate_bps: float) -> None:
        self._rate_bps, self._switched_s = rate_bps, -math.inf
        self._confirmations = 0

    def should_switch(self, best: Candidate, current: Candidate, rate_bps: float, now_s: float) -> bool:
        """Whether to switch from `current` to `best`, both predicted under present conditions."""
        has_link_changed = not 1 / _LINK_CHANGE < rate_bps / max(self._rate_bps, 1) < _LINK_CHANGE
        is_due = has_link_changed or now_s - self._switched_s > _DWELL_S
        is_better = best.shared_rate > _MIN_GAIN * current.shared_rate
        self._confirmations = self._confirmations + 1 if is_due and is_better else 0
        return self._confirmations >= _CONFIRMATIONS

    def on_switch(self, rate_bps: float, now_s: float) -> None:
        """Record a switch at this rate of the link."""
        self._rate_bps, self._switched_s, self._confirmations = rate_bps, now_s, 0


class TrialPolicy:
    """Allows one batch per second to be sent while the whole run is local, to measure the link. A tail that shares this
    machine's cores is not tried, because it would slow the run."""

    def __init__(self, *, shares_cores: bool) -> None:
        self._shares_cores = shares_cores
        self._tried_s = -math.inf

    def should_try(self, current: Candidate, now_s: float) -> bool:
        """Whether to send a batch, given the current split."""
        return current.cut is None and not self._shares_cores and now_s - self._tried_s > _TRIAL_PAUSE_S

    def on_trial(self, now_s: float) -> None:
        """Record a trial."""
        self._tried_s = now_s
