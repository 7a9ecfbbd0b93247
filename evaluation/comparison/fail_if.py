"""Limits on a comparison, for `--fail-if`: `METRIC OP NUMBER[UNIT]`, as in "accuracy_drop > 0.5pt".

Units are strict, since 0.5 % of an accuracy is not half a point of it: differences of accuracy are in points (`pt`),
shares in per cent (`%`), and all else has no unit.
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
    """Where a number is in a comparison, None when it is not known there, and the unit it is given in."""

    value: Callable[[Comparison], float | None]
    unit: str = ""


def _drop(end: str) -> Metric:
    """100 times A less B; `end` is the end of the interval of B less A that is meant."""

    def value(comparison: Comparison) -> float | None:
        found: float | None = comparison["overall"]["difference"][end]  # type: ignore[literal-required]
        return None if found is None else 0.0 - 100 * found

    return Metric(value, "pt")


def _share(name: str) -> Metric:
    def value(comparison: Comparison) -> float | None:
        found: float | None = comparison["overall"][name]["value"]  # type: ignore[literal-required]
        return None if found is None else 100 * found

    return Metric(value, "%")


def _ratios() -> Iterator[tuple[str, Metric]]:
    for stage in STAGES:
        for quantile in _QUANTILES:

            def value(comparison: Comparison, stage: str = stage, quantile: str = quantile) -> float | None:
                found = comparison["stages"].get(stage)
                return found[f"{quantile}_us"]["ratio"] if found else None

            yield f"{stage}_{quantile}_ratio", Metric(value)


METRICS: dict[str, Metric] = {
    "accuracy_drop": _drop("value"),
    "accuracy_drop_low": _drop("high"),
    "accuracy_drop_high": _drop("low"),
    "accuracy_a": _share("accuracy_a"),
    "accuracy_b": _share("accuracy_b"),
    "agreement": _share("agreement"),
    "mid_p": Metric(lambda comparison: comparison["overall"]["mid_p"]),
    "exact_p": Metric(lambda comparison: comparison["overall"]["exact_p"]),
    "only_a": Metric(lambda comparison: comparison["coverage"]["only_a"]),
    "only_b": Metric(lambda comparison: comparison["coverage"]["only_b"]),
    "errors_rise": Metric(lambda comparison: comparison["coverage"]["errors_b"] - comparison["coverage"]["errors_a"]),
    "sent_bytes_ratio": Metric(lambda comparison: comparison["bytes"]["sent_bytes"]["ratio"]),
    **dict(_ratios()),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """One condition under which a comparison fails."""

    metric: str
    sign: str
    bound: float

    def failure(self, comparison: Comparison) -> str | None:
        """A sentence when the condition holds, or when it cannot be judged; None when all is well."""
        value, unit = METRICS[self.metric].value(comparison), METRICS[self.metric].unit
        condition = f"{self.metric} {self.sign} {self.bound:g}{unit}"
        if value is None:
            return f"{self.metric} is not known of these runs, so that --fail-if '{condition}' cannot be judged."
        if _OPERATORS[self.sign](value, self.bound):
            return f"{self.metric} is {value:.4g}{unit}, which --fail-if '{condition}' forbids."
        return None


def parse(text: str) -> Limit:
    """The limit a text states. Raises WrongUsage."""
    match = _GRAMMAR.fullmatch(text)
    if not match:
        raise WrongUsage(f"Cannot read --fail-if {text!r}; write METRIC > NUMBER, as in 'accuracy_drop > 0.5pt'.")
    name, sign, number, unit = match.groups()
    if name not in METRICS:
        near = get_close_matches(name, METRICS, 3)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "there are accuracy_drop, agreement, latency_p95_ratio…"
        )
        raise WrongUsage(f"No metric {name!r} for --fail-if; {hint}")
    wanted = METRICS[name].unit
    if unit != wanted:
        right = f"{name} {sign} {number}{wanted}"
        raise WrongUsage(
            f"{name} has {f'the unit {wanted}' if wanted else 'no unit'}, unlike {number + unit!r}; write '{right}'."
        )
    return Limit(name, sign, float(number))
