"""The decisions of an adaptive run, on candidates with given numbers."""

from dataclasses import replace

import pytest

from hybrid_batch.inference.model.cuts import Cut, TensorSpec
from hybrid_batch.inference.planner.adapt.policy import SwitchPolicy, TrialPolicy, is_worth_sending
from hybrid_batch.inference.planner.plan.candidates import Candidate, StageTimes

CUT = Cut("c001", "layer1", (TensorSpec("t1:0", (100,), "FP32"),), 500, 500)
# This machine takes 1 ms for a whole image; the tail takes a batch of 8 every 4 ms, 16 ms after it is sent.
LOCAL = Candidate(None, "none", 8, StageTimes(0, 1000), 0, 0, 1000, 0, 1000, "head", 0)
REMOTE = Candidate(CUT, "fp16", 8, StageTimes(0, 100, 0, 1500, 500), 200, 50, 100, 500, 1000, "link", 0)


def sends(queued: int, *, remote: Candidate = REMOTE, max_queued: int = 32, images_left: int = 1000) -> bool:
    return is_worth_sending(remote, LOCAL, queued=queued, max_queued=max_queued, images=8, images_left=images_left)


def test_batches_are_sent_until_the_tail_has_enough():
    """16 ms of link and tail need 4 batches of 4 ms, and one more."""
    assert [queued for queued in range(10) if sends(queued)] == [0, 1, 2, 3, 4]


def test_a_local_batch_must_not_leave_the_tail_idle():
    """A local batch takes 8 ms; with a quarter of a millisecond for each of the tail's, 32 more are needed."""
    fast = replace(REMOTE, times=StageTimes(0, 100, 0, 10, 31.25), remote_us=31.25)
    assert [queued for queued in range(40) if sends(queued, remote=fast, max_queued=64)] == list(range(33))


def test_no_more_batches_are_queued_than_requests_allowed():
    assert [queued for queued in range(10) if sends(queued, max_queued=2)] == [0, 1]


def test_queued_batches_of_large_boundaries_are_limited_by_memory():
    large = replace(REMOTE, sent_bytes=3 << 20)  # 24 MiB per batch
    assert [queued for queued in range(10) if sends(queued, remote=large)] == [0, 1]


@pytest.mark.parametrize(("images_left", "is_sent"), [(100, True), (8, True), (7, False), (0, False)])
def test_at_the_end_of_a_run_a_batch_is_not_sent_if_this_machine_is_done_sooner(images_left, is_sent):
    """The result arrives after 16 ms, in which this machine runs 16 images, 8 of them in the batch."""
    assert sends(0, images_left=images_left) is is_sent


def rated(rate: float) -> Candidate:
    """A candidate with this shared rate."""
    return replace(LOCAL, local_us=1e6 / rate)


def test_a_switch_needs_two_confirmations_of_a_gain_beyond_the_measurement_error():
    policy = SwitchPolicy(1e6)
    assert [policy.should_switch(rated(114), rated(100), 1e6, now) for now in (0, 1, 2)] == [False] * 3
    assert [policy.should_switch(rated(116), rated(100), 1e6, now) for now in (3, 4)] == [False, True]
    assert not policy.should_switch(rated(100), rated(100), 1e6, 5)
    assert not policy.should_switch(rated(116), rated(100), 1e6, 6), "the confirmations are not successive"


def test_after_a_switch_the_next_waits_for_another_link_or_half_a_minute():
    policy = SwitchPolicy(1e6)
    policy.on_switch(1e6, 100.0)
    for now in (101.0, 130.0):
        assert not any(policy.should_switch(rated(200), rated(100), 1.4e6, now) for _ in range(3))
    assert [policy.should_switch(rated(200), rated(100), 1.6e6, 101.0) for _ in range(2)] == [False, True]
    policy.on_switch(1.6e6, 101.0)
    assert [policy.should_switch(rated(200), rated(100), 1.6e6, 131.1) for _ in range(2)] == [False, True]


def test_a_local_run_tries_the_tail_once_a_second():
    policy = TrialPolicy(shares_cores=False)
    assert policy.should_try(LOCAL, 0.0)
    assert not policy.should_try(REMOTE, 0.0)
    policy.on_trial(0.0)
    assert [policy.should_try(LOCAL, now) for now in (0.9, 1.1)] == [False, True]


def test_a_tail_on_this_machines_cores_is_not_tried():
    assert not TrialPolicy(shares_cores=True).should_try(LOCAL, 0.0)
