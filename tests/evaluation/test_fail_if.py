"""`--fail-if`: valid and invalid conditions, and their evaluation."""

import pytest

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.log.records import to_table
from hybrid_batch.evaluation.comparison import run_join
from hybrid_batch.evaluation.comparison.comparison import Comparison, build_comparison
from hybrid_batch.evaluation.comparison.fail_if import METRICS, Condition, parse_condition
from tests.factories.records import record


def comparison(label: str | None = "a") -> Comparison:
    """A comparison of accuracies 100 % and 98 %, latencies 21 µs and 42 µs."""
    a = [record(image=f"{n}", label=label, sent_bytes=100) for n in range(100)]
    b = [
        record(image=f"{n}", label=label, prediction="a" if n > 1 else "b", latency_us=42, sent_bytes=90)
        for n in range(100)
    ]
    b += [record(image="more")]
    return build_comparison(run_join.join_and_count(*(run_join.select_columns(to_table(side)) for side in (a, b))))


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("accuracy_drop > 0.5pt", Condition("accuracy_drop", ">", 0.5)),
        (" accuracy_drop>=-1.pt ", Condition("accuracy_drop", ">=", -1.0)),
        ("agreement<99%", Condition("agreement", "<", 99.0)),
        ("latency_p95_ratio >= 1.1", Condition("latency_p95_ratio", ">=", 1.1)),
        ("mid_p < .05", Condition("mid_p", "<", 0.05)),
    ],
)
def test_conditions_are_parsed(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Cannot read --fail-if ''"),
        ("accuracy_drop", "Cannot read"),
        ("accuracy_drop = 1pt", "Cannot read"),
        ("accuracy_drop > 1 pt extra", "Cannot read"),
        ("accuracy_drop > nanpt", "Cannot read"),
        ("accuracy_drop > 1e3pt", "Cannot read"),
        ("__import__('os') > 1", "Cannot read"),
        ("acuracy_drop > 1pt", "did you mean accuracy_drop"),
        ("zzz > 1", "No metric 'zzz'"),
        ("accuracy_drop > 0.5%", "has the unit pt, unlike '0.5%'; write 'accuracy_drop > 0.5pt'"),
        ("accuracy_drop > 0.5", "has the unit pt"),
        ("agreement < 99pt", "has the unit %"),
        ("latency_p95_ratio > 110%", "has no unit"),
    ],
)
def test_invalid_conditions_are_rejected_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(WrongUsage) as raised:
        parse_condition(text)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("accuracy_drop > 1.9pt", True),
        ("accuracy_drop > 2.1pt", False),
        ("accuracy_drop < 2.1pt", True),
        ("accuracy_drop_high > 3pt", True),
        ("accuracy_drop_low > 1pt", False),
        ("accuracy_a < 100%", False),
        ("accuracy_a <= 100%", True),
        ("accuracy_b < 98.5%", True),
        ("agreement < 98.5%", True),
        ("only_b > 0", True),
        ("only_a > 0", False),
        ("errors_rise > 0", False),
        ("mid_p > 0.2", True),
        ("exact_p > 0.4", True),
        ("latency_p95_ratio >= 2", True),
        ("latency_mean_ratio > 2", False),
        ("tail_p50_ratio > 1", False),
        ("cut_bytes_ratio >= 1", True),
        ("sent_bytes_ratio > 0.89", True),
        ("sent_bytes_ratio > 0.9", False),
    ],
)
def test_a_condition_fails_the_comparison_if_it_holds(text: str, fires: bool) -> None:
    assert bool(parse_condition(text).failure(comparison())) is fires


def test_the_sentence_has_the_value_and_the_condition() -> None:
    sentence = parse_condition("accuracy_drop > 0.5pt").failure(comparison())
    assert sentence == "accuracy_drop is 2pt, so --fail-if 'accuracy_drop > 0.5pt' holds."


def test_an_unknown_metric_fails_the_comparison() -> None:
    sentence = parse_condition("accuracy_drop > 0.5pt").failure(comparison(label=None))
    assert sentence is not None
    assert "is unknown for these runs, so --fail-if" in sentence


def test_a_complete_comparison_has_every_metric() -> None:
    complete = comparison()
    for name, metric in METRICS.items():
        assert metric.value(complete) is not None, name
