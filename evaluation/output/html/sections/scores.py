"""How good are the predictions: every headline metric with its interval."""

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.bars import IntervalAxis
from hybrid_batch.evaluation.output.html.markup import Markup
from hybrid_batch.evaluation.output.html.tables import remark, section, table
from hybrid_batch.evaluation.report_schema import HEADLINE, Measure, Report

_NAMES = {
    "top5_accuracy": "top-5 accuracy",
    "f1_macro": "F1 macro",
    "f1_weighted": "F1 weighted",
    "cohen_kappa": "Cohen's kappa",
    "matthews": "Matthews",
    "confidence_brier": "Brier score",
    "confidence_log_loss": "log loss",
}
_PLAIN = ("cohen_kappa", "matthews", "confidence_brier", "confidence_log_loss")
_LOSSES = ("confidence_brier", "confidence_log_loss")
_TWINS = {"recall_weighted": "accuracy", "recall_macro": "balanced_accuracy"}


def scores(report: Report) -> Markup:
    """A table with the intervals on one axis. A metric that equals another by definition has no row of its own."""
    headline = report["headline"]
    twins = [name for name, other in _TWINS.items() if headline[name]["value"] == headline[other]["value"]]
    shown = [metric for metric in HEADLINE if metric not in twins]
    axis = IntervalAxis.around(headline[metric] for metric in shown if metric not in _LOSSES)
    rows = [_row(metric, headline[metric], axis) for metric in shown]
    equal = " ".join(f"{_name(name).capitalize()} equals {_name(_TWINS[name])}." for name in twins)
    return section(
        "Scores",
        table("", ("score", axis.head(), "value", "95 % interval"), rows, wide=1, kind="names"),
        remark(f"Brier score and log loss rate the confidence: smaller is better. {equal}"),
        remark(report["intervals"]),
    )


def _row(metric: str, measure: Measure, axis: IntervalAxis) -> tuple[str, ...]:
    percent = metric not in _PLAIN
    value = units.percent(measure["value"]) if percent else units.score(measure["value"])
    drawn = Markup("") if metric in _LOSSES else axis.draw(measure)
    return Markup(_name(metric)), drawn, value, units.interval(measure, percent)


def _name(metric: str) -> str:
    return _NAMES.get(metric, metric.replace("_", " "))
