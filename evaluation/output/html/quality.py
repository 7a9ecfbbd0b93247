"""The sections about the quality of predictions: scores, confusions, classes, confidence."""

from collections.abc import Sequence

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html import charts
from hybrid_batch.evaluation.output.html.heat_map import MAX_CLASSES_DRAWN, heat_map
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import collapsible, run_text, table
from hybrid_batch.evaluation.report_schema import HEADLINE, Binning, ClassRow, Confusion, Measure, Report

MAX_BARS = 30
MAX_CLASSES_LISTED = 1000
MAX_CONFUSIONS_LISTED = 12
MAX_CLASSES_BESIDE_TABLE = 15  # a larger matrix leaves no room for the table of confusions beside it
_NAMES = {
    "top5_accuracy": "top-5 accuracy",
    "f1_macro": "F1 macro",
    "f1_weighted": "F1 weighted",
    "cohen_kappa": "Cohen's kappa",
    "matthews": "Matthews",
    "confidence_brier": "Brier score",
    "confidence_log_loss": "log loss",
}
_SCORES = ("cohen_kappa", "matthews", "confidence_brier", "confidence_log_loss")
_LOSSES = ("confidence_brier", "confidence_log_loss")


def scores(report: Report) -> Markup:
    """Every headline metric with its interval, as a table with bars."""
    rows = []
    for metric in HEADLINE:
        measure, percent = report["headline"][metric], metric not in _SCORES
        value = units.percent(measure["value"]) if percent else units.score(measure["value"])
        drawn = Markup("") if metric in _LOSSES else _bar(measure)
        text = _NAMES.get(metric, metric.replace("_", " "))
        rows.append((Markup(text), drawn, value, units.interval(measure, percent)))
    return element(
        "section",
        element("h2", "Scores"),
        table(
            "Brier score and log loss evaluate the confidence; smaller is better.",
            ("score", "", "", "95 %"),
            rows,
            wide=1,
        ),
        element("p", f"Intervals of proportions: Wilson. All other intervals: {report['intervals']}.", class_="soft"),
    )


def confusions(confusion: Confusion) -> Markup:
    """The matrix, unless it has too many classes to draw, and the worst confusions."""
    count = len(confusion["classes"])
    cells = zip(confusion["label"], confusion["prediction"], confusion["records"], strict=True)
    wrong = sorted((-records, label, prediction) for label, prediction, records in cells if label != prediction)
    totals = dict.fromkeys(range(count), 0)
    for label, records in zip(confusion["label"], confusion["records"], strict=True):
        totals[label] += records
    names = confusion["classes"]
    rows = [
        (
            join(run_text(names[label]), " → ", run_text(names[prediction])),
            f"{-records:,}",
            units.percent(-records / totals[label]),
        )
        for records, label, prediction in wrong[:MAX_CONFUSIONS_LISTED]
    ]
    worst = table(
        f"The worst {len(rows)} of {len(wrong):,} kinds of confusion",
        ("label → prediction", "records", "of the label"),
        rows,
    )
    explanation = (
        f"{count:,} classes are too many to draw; these are the worst confusions."
        if count > MAX_CLASSES_DRAWN
        else "One row for each label, one column for each prediction. Darker: a larger share of the label."
    )
    if count > MAX_CLASSES_DRAWN:
        drawn = worst
    elif not wrong:
        drawn = join(heat_map(confusion), element("p", "There are no confusions."))
    elif count > MAX_CLASSES_BESIDE_TABLE:
        drawn = join(heat_map(confusion), collapsible("The worst confusions", worst))
    else:
        drawn = element("div", heat_map(confusion), worst, class_="pair")
    return element("section", element("h2", "Confusion"), element("p", explanation, class_="soft"), drawn)


def classes(rows: Sequence[ClassRow]) -> Markup:
    """F1 of the worst classes as bars, and a table of all classes."""
    known = sorted((row for row in rows if row["support"]), key=lambda row: (row["f1"]["value"] or 0.0, row["name"]))
    drawn = [
        (row["name"], _bar(row["f1"]), units.percent(row["f1"]["value"] or 0.0), f"{row['support']:,}")
        for row in known[:MAX_BARS]
    ]
    which = "all classes" if len(known) <= MAX_BARS else f"the worst {MAX_BARS} of {len(known):,} classes"
    every = [
        (
            row["name"],
            f"{row['support']:,}",
            f"{row['predicted']:,}",
            *(join(units.percent(row[key]["value"]), _small(row[key])) for key in ("precision", "recall", "f1")),
        )
        for row in rows[:MAX_CLASSES_LISTED]
    ]
    heads = ("class", "labels", "predictions", "precision", "recall", "F1")
    listed = (
        f"The first {MAX_CLASSES_LISTED:,} of {len(rows):,} classes"
        if len(rows) > MAX_CLASSES_LISTED
        else "All classes"
    )
    return element(
        "section",
        element("h2", "Classes"),
        table(f"F1 of {which}, the worst first, with 95 % intervals", ("class", "", "F1", "labels"), drawn, wide=1),
        collapsible("Precision, recall and F1 of each class", table(listed, heads, every)),
    )


def confidence(report: Report) -> Markup:
    """Reliability diagrams, and the distance of the confidence from the accuracy."""
    calibration = report["calibration"]
    width, mass = calibration["equal_width"], calibration["equal_mass"]
    summary = (
        f"Expected calibration error {units.percent(width['ece'])}. Perfect confidences would have "
        f"{units.percent(width['ece_null'])} on average, and more than {units.percent(width['ece_null_p95'])} "
        "in 5 % of cases."
    )
    return element(
        "section",
        element("h2", "Confidence"),
        element("p", summary),
        element("p", "Bars below the dashed line: too confident. Grey: share of the records.", class_="soft"),
        charts.reliability_diagram(width["bins"]),
        collapsible("Bins of equal width", _bins(width)),
        collapsible(
            f"Bins of equal mass (calibration error {units.percent(mass['ece'])})",
            charts.reliability_diagram(mass["bins"]),
            _bins(mass),
        ),
    )


def _bins(binning: Binning) -> Markup:
    rows = [
        (
            Markup(f"{units.percent(entry['low'])} to {units.percent(entry['high'])}"),
            f"{entry['records']:,}",
            units.percent(entry["confidence"]),
            units.percent(entry["accuracy"]["value"]),
            units.interval(entry["accuracy"]),
        )
        for entry in binning["bins"]
    ]
    return table("", ("confidence", "records", "mean", "accuracy", "95 %"), rows)


def _bar(measure: Measure) -> Markup:
    return charts.bar(measure["value"], measure["low"], measure["high"])


def _small(measure: Measure) -> Markup:
    low, high = measure["low"], measure["high"]
    if low is None or high is None:
        return Markup("")
    return join(element("br"), element("small", f"{100 * low:.0f} to {100 * high:.0f}", class_="soft"))
