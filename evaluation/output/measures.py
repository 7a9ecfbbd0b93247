"""Which measures terminal and page show, and under which names."""

from collections.abc import Mapping

from hybrid_batch.evaluation.report_schema import HEADLINE, Measure

MANY_CLASSES = 20  # with fewer, a label in the top 5 means little
UNTIMED_COLUMNS = ("folder", "width", "height", "label_source")  # latency by these shows the order of the images only
_NAMES = {
    "top5_accuracy": "top-5 accuracy",
    "f1_macro": "F1 macro",
    "f1_weighted": "F1 weighted",
    "cohen_kappa": "Cohen's kappa",
    "matthews": "Matthews",
    "confidence_brier": "top-1 Brier score",
    "confidence_log_loss": "top-1 log loss",
}


def measure_name(measure: str) -> str:
    """The name of a measure of `HEADLINE` for readers."""
    return _NAMES.get(measure, measure.replace("_", " "))


def shown_measures(headline: Mapping[str, Measure], classes: int) -> list[str]:
    """The known measures of `HEADLINE`, without the weighted recall, which is the accuracy, and for few classes without
    the top-5 accuracy."""
    hidden = {"recall_weighted"} | ({"top5_accuracy"} if classes < MANY_CLASSES else set())
    return [name for name in HEADLINE if name not in hidden and headline[name]["value"] is not None]
