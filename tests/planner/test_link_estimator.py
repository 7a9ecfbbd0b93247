"""The estimates of link, tail and heads, from made-up responses."""

import random

import pytest

from hybrid_batch.inference.planner.adapt.link_estimator import LinkEstimator, Observation, Transfer, link_rate
from tests.factories.profiles import profile_of

MBIT = 1e6
BYTES = 10_000
LONG_US = BYTES * 8  # at 1 Mbit/s


def feed(
    estimator: LinkEstimator, rate_bps: float, count: int, *, jitter: float = 0, tail: float = 1, chance=None
) -> None:
    """Responses one after the other over a link of this rate."""
    clock = estimator.last_response_us + 1000
    for _ in range(count):
        spent_us = BYTES * 8e6 / rate_bps * (1 + (chance.uniform(-jitter, jitter) if chance else 0))
        estimator.observe_response(
            Observation(8, tail * 100, 100, Transfer(BYTES, 0, clock, clock + spent_us), clock + spent_us), spent_us
        )
        estimator.update()
        clock += spent_us


def test_a_single_frame_gives_the_rate():
    assert link_rate([Transfer(BYTES, 0, 0, LONG_US)]) == pytest.approx(MBIT)


def test_the_rate_does_not_depend_on_the_time_of_sending():
    for start in (0.0, 1e12):
        alone = Transfer(BYTES, BYTES, start, start + 2 * LONG_US)
        assert link_rate([alone]) == pytest.approx(MBIT)
        assert link_rate([alone, alone]) == pytest.approx(MBIT)


def test_frames_that_share_the_link_give_its_whole_rate():
    together = [Transfer(BYTES, 0, 0, 4 * LONG_US) for _ in range(4)]
    assert link_rate(together) == pytest.approx(MBIT)
    staggered = [Transfer(BYTES, 0, i * LONG_US, (i + 2) * LONG_US) for i in range(9)]
    assert link_rate(staggered) == pytest.approx(0.9 * MBIT)


def test_between_two_times_only_the_transfers_in_flight_count():
    staggered = [Transfer(BYTES, 0, i * LONG_US, (i + 4) * LONG_US) for i in range(8)]
    assert link_rate(staggered, 3 * LONG_US, 8 * LONG_US) == pytest.approx(MBIT)
    assert link_rate(staggered) == pytest.approx(8 / 11 * MBIT)
    assert link_rate(staggered, 20 * LONG_US) is None


def test_replies_take_time_of_their_own_while_nothing_is_sent():
    assert link_rate([Transfer(BYTES, 3 * BYTES, 0, 4 * LONG_US)]) == pytest.approx(MBIT)
    together = [Transfer(BYTES, BYTES // 2, 0, 4 * LONG_US) for _ in range(4)]
    assert link_rate(together) == pytest.approx(MBIT)
    large_replies = [Transfer(BYTES // 2, BYTES, 0, 4 * LONG_US) for _ in range(4)]
    assert link_rate(large_replies) == pytest.approx(MBIT)


def test_idle_time_is_not_counted():
    assert link_rate([Transfer(BYTES, 0, 0, LONG_US), Transfer(BYTES, 0, 1e9, 1e9 + LONG_US)]) == pytest.approx(MBIT)


def test_without_transfers_or_bytes_there_is_no_rate():
    assert link_rate([]) is None
    assert link_rate([Transfer(0, 0, 0, 10)]) is None


def test_a_steady_link_keeps_the_profiles_rate_exactly():
    profile = profile_of(1000, 100, 5 * MBIT)
    estimator = LinkEstimator(profile)
    feed(estimator, 5.2 * MBIT, 50)
    assert estimator.link.rate_bps == 5 * MBIT


def test_jitter_of_15_percent_changes_nothing():
    estimator = LinkEstimator(profile_of(1000, 100, 5 * MBIT))
    feed(estimator, 5 * MBIT, 2000, jitter=0.15, chance=random.Random(1))
    assert estimator.link.rate_bps == 5 * MBIT


@pytest.mark.parametrize("rate", [1.1, 18.88])
def test_another_rate_is_estimated_within_a_few_responses(rate):
    estimator = LinkEstimator(profile_of(1000, 100, 5 * MBIT))
    feed(estimator, 5 * MBIT, 20)
    feed(estimator, rate * MBIT, 8)
    assert estimator.link.rate_bps == pytest.approx(rate * MBIT, rel=0.25)


def test_frames_sent_one_by_one_give_a_new_rate_at_once():
    estimator = LinkEstimator(profile_of(1000, 100, 0.5 * MBIT))
    feed(estimator, 0.5 * MBIT, 8)
    feed(estimator, 10 * MBIT, 2)
    assert estimator.link.rate_bps == pytest.approx(10 * MBIT)


def test_a_link_that_is_always_shared_by_four_frames_is_not_estimated_slower():
    estimator = LinkEstimator(profile_of(1000, 100, 1 * MBIT))
    for i in range(12):
        transfer = Transfer(BYTES, 0, max(0, i - 3) * LONG_US, (i + 1) * LONG_US)
        estimator.observe_response(Observation(8, 100, 100, transfer, transfer.end_us), LONG_US)
        estimator.update(oldest_sent_us=max(0, i - 2) * LONG_US)
    assert estimator.link.rate_bps == 1 * MBIT


def test_short_transfers_only_give_a_lower_bound():
    """10 kB in 4 ms are 20 Mbit/s, or 4 ms of waiting for a processor."""
    estimator = LinkEstimator(profile_of(1000, 100, 100 * MBIT))
    feed(estimator, 20 * MBIT, 8)
    assert estimator.link.rate_bps == 100 * MBIT


def test_a_stall_bounds_the_rate_before_any_response():
    estimator = LinkEstimator(profile_of(1000, 100, 18.88 * MBIT))
    estimator.update(2e6, 100_000)
    assert estimator.link.rate_bps == pytest.approx(0.4 * MBIT)


def test_a_tail_slower_than_profiled_is_detected():
    estimator = LinkEstimator(profile_of(1000, 100, 0.5 * MBIT))
    feed(estimator, 0.5 * MBIT, 8, tail=10)
    assert estimator.conditions.tail_factor == pytest.approx(10, rel=0.1)
    assert estimator.conditions.head_factor == 1


def test_requests_computed_together_are_bounded_by_the_interval_of_their_responses():
    """Eight images every 800 µs, each with a reported call of four times that."""
    estimator = LinkEstimator(profile_of(1000, 100, 100 * MBIT))
    feed(estimator, 100 * MBIT, 8, tail=4)
    assert estimator.conditions.tail_factor == pytest.approx(1, rel=0.06)


def test_heads_slower_than_profiled_are_detected_despite_an_outlier():
    estimator = LinkEstimator(profile_of(1000, 100, MBIT))
    for factor in (2, 2, 50, 2, 2.1):
        estimator.observe_head(factor)
    assert estimator.conditions.head_factor == pytest.approx(2, rel=0.06)
