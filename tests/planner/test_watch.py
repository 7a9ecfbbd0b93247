import random

import pytest

from hybrid_batch.inference.planner.adapt.link_estimator import Seen, Watch
from hybrid_batch.inference.planner.adapt.transfers import Transfer, link_rate
from tests.planner.made_profiles import profile_of

MBIT = 1e6
BYTES = 10_000
LONG_US = BYTES * 8  # at 1 Mbit/s


def feed(watch: Watch, rate_bps: float, count: int, *, jitter: float = 0, tail: float = 1, chance=None) -> None:
    """Answers one after the other over a link of this rate."""
    clock = watch.last_us + 1000
    for _ in range(count):
        took = BYTES * 8e6 / rate_bps * (1 + (chance.uniform(-jitter, jitter) if chance else 0))
        watch.answer(Seen(8, tail * 100, 100, Transfer(BYTES, 0, clock, clock + took), clock + took), took)
        watch.tell()
        clock += took


def test_a_lone_frame_tells_the_rate():
    assert link_rate([Transfer(BYTES, 0, 0, LONG_US)]) == pytest.approx(MBIT)


def test_the_rate_does_not_depend_on_when_frames_are_sent():
    for start in (0.0, 1e12):
        alone = Transfer(BYTES, BYTES, start, start + 2 * LONG_US)
        assert link_rate([alone]) == pytest.approx(MBIT)
        assert link_rate([alone, alone]) == pytest.approx(MBIT)


def test_frames_that_share_the_link_tell_its_rate_and_not_a_part_of_it():
    together = [Transfer(BYTES, 0, 0, 4 * LONG_US) for _ in range(4)]
    assert link_rate(together) == pytest.approx(MBIT)
    staggered = [Transfer(BYTES, 0, i * LONG_US, (i + 2) * LONG_US) for i in range(9)]
    assert link_rate(staggered) == pytest.approx(0.9 * MBIT)


def test_between_two_moments_only_what_was_then_on_its_way_counts():
    staggered = [Transfer(BYTES, 0, i * LONG_US, (i + 4) * LONG_US) for i in range(8)]
    assert link_rate(staggered, 3 * LONG_US, 8 * LONG_US) == pytest.approx(MBIT)
    assert link_rate(staggered) == pytest.approx(8 / 11 * MBIT)
    assert link_rate(staggered, 20 * LONG_US) is None


def test_replies_take_time_of_their_own_where_nothing_goes_meanwhile():
    assert link_rate([Transfer(BYTES, 3 * BYTES, 0, 4 * LONG_US)]) == pytest.approx(MBIT)
    together = [Transfer(BYTES, BYTES // 2, 0, 4 * LONG_US) for _ in range(4)]
    assert link_rate(together) == pytest.approx(MBIT)
    large_replies = [Transfer(BYTES // 2, BYTES, 0, 4 * LONG_US) for _ in range(4)]
    assert link_rate(large_replies) == pytest.approx(MBIT)


def test_the_time_nothing_travels_is_not_counted():
    assert link_rate([Transfer(BYTES, 0, 0, LONG_US), Transfer(BYTES, 0, 1e9, 1e9 + LONG_US)]) == pytest.approx(MBIT)


def test_nothing_tells_nothing():
    assert link_rate([]) is None
    assert link_rate([Transfer(0, 0, 0, 10)]) is None


def test_a_steady_link_is_the_one_profiled_to_the_bit():
    profile = profile_of(1000, 100, 5 * MBIT)
    watch = Watch(profile)
    feed(watch, 5.2 * MBIT, 50)
    assert watch.link.rate_bps == 5 * MBIT


def test_jitter_of_15_percent_changes_nothing():
    watch = Watch(profile_of(1000, 100, 5 * MBIT))
    feed(watch, 5 * MBIT, 2000, jitter=0.15, chance=random.Random(1))
    assert watch.link.rate_bps == 5 * MBIT


@pytest.mark.parametrize("rate", [1.1, 18.88])
def test_another_rate_is_believed_within_a_few_answers(rate):
    watch = Watch(profile_of(1000, 100, 5 * MBIT))
    feed(watch, 5 * MBIT, 20)
    feed(watch, rate * MBIT, 8)
    assert watch.link.rate_bps == pytest.approx(rate * MBIT, rel=0.25)


def test_frames_that_come_one_by_one_tell_a_new_rate_at_once():
    watch = Watch(profile_of(1000, 100, 0.5 * MBIT))
    feed(watch, 0.5 * MBIT, 8)
    feed(watch, 10 * MBIT, 2)
    assert watch.link.rate_bps == pytest.approx(10 * MBIT)


def test_a_link_that_is_always_shared_by_four_frames_is_not_thought_slower():
    watch = Watch(profile_of(1000, 100, 1 * MBIT))
    for i in range(12):
        transfer = Transfer(BYTES, 0, max(0, i - 3) * LONG_US, (i + 1) * LONG_US)
        watch.answer(Seen(8, 100, 100, transfer, transfer.end_us), LONG_US)
        watch.tell(waiting_since_us=max(0, i - 2) * LONG_US)
    assert watch.link.rate_bps == 1 * MBIT


def test_short_frames_tell_only_that_the_link_is_at_least_so_fast():
    """10 kB in 4 ms are 20 Mbit/s, or 4 ms of waiting for a processor."""
    watch = Watch(profile_of(1000, 100, 100 * MBIT))
    feed(watch, 20 * MBIT, 8)
    assert watch.link.rate_bps == 100 * MBIT


def test_silence_bounds_the_rate_before_any_answer_comes():
    watch = Watch(profile_of(1000, 100, 18.88 * MBIT))
    watch.tell(2e6, 100_000)
    assert watch.link.rate_bps == pytest.approx(0.4 * MBIT)


def test_a_tail_slower_than_stated_is_noticed():
    watch = Watch(profile_of(1000, 100, 0.5 * MBIT))
    feed(watch, 0.5 * MBIT, 8, tail=10)
    assert watch.conditions.tail == pytest.approx(10, rel=0.1)
    assert watch.conditions.head == 1


def test_requests_computed_together_do_not_look_slower_than_their_answers_come():
    """Eight images every 800 us, each told that its call took four times that."""
    watch = Watch(profile_of(1000, 100, 100 * MBIT))
    feed(watch, 100 * MBIT, 8, tail=4)
    assert watch.conditions.tail == pytest.approx(1, rel=0.06)


def test_heads_slower_than_stated_are_noticed_whatever_one_of_them_did():
    watch = Watch(profile_of(1000, 100, MBIT))
    for factor in (2, 2, 50, 2, 2.1):
        watch.head(factor)
    assert watch.conditions.head == pytest.approx(2, rel=0.06)
