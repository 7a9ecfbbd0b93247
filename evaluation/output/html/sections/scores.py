"""How good are the predictions: every headline metric with its interval."""

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.bars import IntervalAxis
from hybrid_batch.evaluation.output.html.markup import Markup
from hybrid_batch.evaluation.output.html.tables import remark, section, table
from hybrid_batch.evaluation.output.measures import measure_name, shown_measures
from hybrid_batch.evaluation.report_schema import Measure, Report

_PLAIN = ("cohen_kappa", "matthews", "confidence_brier", "confidence_log_loss")
_LOSSES = ("confidence_brier", "confidence_log_loss")


def scores(report: Report) -> Markup:
    """A table with the intervals on one axis. The macro recall has no row where it is the balanced accuracy."""
    headline = report["headline"]
    shown = shown_measures(headline, len(report["confusion"]["classes"]))
    equal = ["weighted recall is the accuracy"]
    if "recall_macro" in shown and headline["recall_macro"] == headline["balanced_accuracy"]:
        shown.remove("recall_macro")
        equal.append("macro recall is the balanced accuracy")
    axis = IntervalAxis.around(headline[metric] for metric in shown if metric not in _LOSSES)
    rows = [_row(metric, headline[metric], axis) for metric in shown]
    return section(
        "Scores",
        table("", ("score", axis.head(), "value", "95 % interval"), rows, wide=1, kind="names"),
        remark(
            "Brier score and log loss rate the confidence that the prediction is right: smaller is better. The "
            f"{', the '.join(equal)}."
        ),
        remark(report["intervals"]),
    )


def _row(metric: str, measure: Measure, axis: IntervalAxis) -> tuple[str, ...]:
    percent = metric not in _PLAIN
    value = units.percent(measure["value"]) if percent else units.score(measure["value"])
    drawn = Markup("") if metric in _LOSSES else axis.draw(measure)
    return Markup(measure_name(metric)), drawn, value, units.interval(measure, percent)
