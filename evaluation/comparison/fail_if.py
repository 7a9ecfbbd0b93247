"""Conditions of `--fail-if` under which a comparison fails: `METRIC OP NUMBER[UNIT]`, as in "accuracy_drop > 0.5pt".

Units are required, since 0.5 % of an accuracy is not half a point: differences of accuracy are in percentage points
(`pt`), shares in per cent (`%`), and all other metrics have no unit.
"""

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.log.records import STAGES
from hybrid_batch.evaluation.comparison.comparison import Comparison

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_GRAMMAR = re.compile(r"\s*([a-z0-9_]+)\s*(>=|<=|>|<)\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*(pt|%|)\s*")
_QUANTILES = ("mean", "p50", "p90", "p95", "p99", "p999")


@dataclass(frozen=True, slots=True)
class Metric:
    """A function from a comparison to a number, None where it is unknown, and the unit of the number."""

    value: Callable[[Comparison], float | None]
    unit: str = ""


def _accuracy_drop(end: str) -> Metric:
    """A's accuracy minus B's, in points; `end` selects the value or an end of the interval of B's minus A's."""

    def value(comparison: Comparison) -> float | None:
        difference: float | None = comparison["overall"]["difference"][end]  # type: ignore[literal-required]
        return None if difference is None else 0.0 - 100 * difference

    return Metric(value, "pt")


def _share(name: str) -> Metric:
    def value(comparison: Comparison) -> float | None:
        share: float | None = comparison["overall"][name]["value"]  # type: ignore[literal-required]
        return None if share is None else 100 * share

    return Metric(value, "%")


def _ratios() -> Iterator[tuple[str, Metric]]:
    for stage in STAGES:
        for quantile in _QUANTILES:

            def value(comparison: Comparison, stage: str = stage, quantile: str = quantile) -> float | None:
                ratios = comparison["stages"].get(stage)
                return ratios[f"{quantile}_us"]["ratio"] if ratios else None

            yield f"{stage}_{quantile}_ratio", Metric(value)


METRICS: dict[str, Metric] = {
    "accuracy_drop": _accuracy_drop("value"),
    "accuracy_drop_low": _accuracy_drop("high"),
    "accuracy_drop_high": _accuracy_drop("low"),
    "accuracy_a": _share("accuracy_a"),
    "accuracy_b": _share("accuracy_b"),
    "agreement": _share("agreement"),
    "mid_p": Metric(lambda comparison: comparison["overall"]["mid_p"]),
    "exact_p": Metric(lambda comparison: comparison["overall"]["exact_p"]),
    "only_a": Metric(lambda comparison: comparison["coverage"]["only_a"]),
    "only_b": Metric(lambda comparison: comparison["coverage"]["only_b"]),
    "errors_rise": Metric(lambda comparison: comparison["coverage"]["errors_b"] - comparison["coverage"]["errors_a"]),
    "cut_bytes_ratio": Metric(lambda comparison: comparison["bytes"]["cut_bytes"]["ratio"]),
    "sent_bytes_ratio": Metric(lambda comparison: comparison["bytes"]["sent_bytes"]["ratio"]),
    **dict(_ratios()),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition under which a comparison fails."""

    metric: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.bound:g}{METRICS[self.metric].unit}"

    def value(self, comparison: Comparison) -> str:
        """The metric with its value, as in "agreement is 99.4%"."""
        value = METRICS[self.metric].value(comparison)
        number = "unknown for these runs" if value is None else f"{value:.4g}{METRICS[self.metric].unit}"
        return f"{self.metric} is {number}"

    def failure(self, comparison: Comparison) -> str | None:
        """A sentence if the condition holds or cannot be evaluated, else None."""
        value = METRICS[self.metric].value(comparison)
        if value is None:
            return f"{self.value(comparison)}, so --fail-if '{self}' cannot be evaluated."
        if _OPERATORS[self.sign](value, self.bound):
            return f"{self.value(comparison)}, so --fail-if '{self}' holds."
        return None


def parse_condition(text: str) -> Condition:
    """The condition of a text of the command line. Raises WrongUsage."""
    match = _GRAMMAR.fullmatch(text)
    if not match:
        raise WrongUsage(f"Cannot read --fail-if {text!r}; write METRIC > NUMBER, as in 'accuracy_drop > 0.5pt'.")
    name, sign, number, unit = match.groups()
    if name not in METRICS:
        near = get_close_matches(name, METRICS, 3)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "metrics are accuracy_drop, agreement, latency_p95_ratio…"
        )
        raise WrongUsage(f"No metric {name!r} for --fail-if; {hint}")
    expected = METRICS[name].unit
    if unit != expected:
        corrected = f"{name} {sign} {number}{expected}"
        raise WrongUsage(
            f"{name} has {f'the unit {expected}' if expected else 'no unit'}, unlike {number + unit!r}; "
            f"write '{corrected}'."
        )
    return Condition(name, sign, float(number))
