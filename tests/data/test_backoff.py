"""Pauses between attempts."""

from itertools import islice

import pytest

from hybrid_batch.data.backoff import Backoff


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of `Backoff.attempts`, which do not take place."""
    pauses: list[float] = []
    monkeypatch.setattr("hybrid_batch.data.backoff.time.sleep", pauses.append)
    return pauses


def test_pauses_grow_by_the_factor_to_the_maximum() -> None:
    assert list(islice(Backoff(1, max_s=6).pauses(), 5)) == [1, 2, 4, 6, 6]
    assert list(islice(Backoff(10, factor=1.5).pauses(), 3)) == [10, 15, 22.5]


def test_jitter_shortens_pauses_at_random() -> None:
    pauses = [Backoff(1, jitter=0.25).pause_s(3) for _ in range(200)]
    assert 3 <= min(pauses) < 3.2
    assert 3.8 < max(pauses) <= 4


def test_a_very_long_series_of_failures_does_not_overflow() -> None:
    assert Backoff(0.1, max_s=5).pause_s(100_000) == 5


def test_attempts_pause_between_each_other_and_mark_the_last(slept: list[float]) -> None:
    assert list(Backoff(1).attempts(4)) == [False, False, False, True]
    assert slept == [1, 2, 4]


def test_no_pause_follows_an_attempt_that_succeeds(slept: list[float]) -> None:
    for _ in Backoff(1).attempts(4):
        break
    assert slept == []


def test_a_single_attempt_is_the_last(slept: list[float]) -> None:
    assert list(Backoff(1).attempts(1)) == [True]
    assert slept == []
