"""The probes of an unreachable tail, with a clock that the test sets."""

import pytest

from hybrid_batch.data.errors import BundleMismatch, TailUnreachable
from hybrid_batch.inference.planner.adapt.prober import Probe, TailProber


class FakeTail:
    """A tail whose check raises `error`, or succeeds without one; records the checked cuts."""

    def __init__(self) -> None:
        self.error: Exception | None = TailUnreachable("No answer.")
        self.checked: list[str] = []

    def check(self, cut_id: str) -> None:
        self.checked.append(cut_id)
        if self.error is not None:
            raise self.error


class FakeClock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr("hybrid_batch.inference.planner.adapt.prober.time", clock)
    return clock


def test_pauses_between_probes_double_up_to_four_seconds(clock):
    tail, probed_s = FakeTail(), []
    probe = Probe(tail)
    for _ in range(200):
        assert not probe.is_back("c003")
        if len(tail.checked) > len(probed_s):
            probed_s.append(clock.now - 1000)
        clock.now += 0.1
    assert probed_s == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5], abs=0.15)
    assert set(tail.checked) == {"c003"}


def test_a_tail_that_responds_is_back(clock):
    tail = FakeTail()
    probe = Probe(tail)
    assert not probe.is_back("c003")
    tail.error, clock.now = None, clock.now + 0.4
    assert not probe.is_back("c003"), "no probe is due"
    clock.now += 0.2
    assert probe.is_back("c003")


def test_an_unreachable_tail_is_probed_until_it_is_back(clock):
    tail = FakeTail()
    prober = TailProber(tail)
    assert prober.is_usable
    prober.on_failure(TailUnreachable("No answer."))
    assert (prober.is_usable, prober.is_probing, prober.is_back("c003")) == (False, True, False)
    tail.error, clock.now = None, clock.now + 1
    assert prober.is_back("c003")
    prober.resume()
    assert prober.is_usable


def test_another_failure_is_final(clock):
    tail = FakeTail()
    prober = TailProber(tail)
    prober.on_failure(BundleMismatch("Another bundle."))
    assert (prober.is_usable, prober.is_probing, prober.is_back("c003")) == (False, False, False)
    assert tail.checked == []


def test_a_probe_that_finds_another_bundle_is_the_last(clock):
    tail = FakeTail()
    prober = TailProber(tail)
    prober.on_failure(TailUnreachable("No answer."))
    tail.error = BundleMismatch("Another bundle.")
    with pytest.raises(BundleMismatch):
        prober.is_back("c003")
    clock.now += 10
    assert not prober.is_back("c003")
    assert tail.checked == ["c003"]
