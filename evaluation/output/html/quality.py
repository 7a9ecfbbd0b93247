"""The sections on how right the predictions are: scores, confusions, classes, confidence."""

from collections.abc import Sequence

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html import charts
from hybrid_batch.evaluation.output.html.heat_map import MOST_CLASSES, heat_map
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import folded, name, table
from hybrid_batch.evaluation.report_schema import HEADLINE, Binning, ClassRow, Confusion, Measure, Report

CLASSES_DRAWN = 30
CLASSES_LISTED = 1000
CONFUSIONS_LISTED = 12
BESIDE = 15  # the matrix of so many classes leaves room beside it
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
    """Every headline metric with its interval."""
    rows = []
    for metric in HEADLINE:
        measure, percent = report["headline"][metric], metric not in _SCORES
        value = units.share(measure["value"]) if percent else units.number(measure["value"])
        drawn = Markup("") if metric in _LOSSES else _bar(measure)
        text = _NAMES.get(metric, metric.replace("_", " "))
        rows.append((Markup(text), drawn, value, units.interval(measure, percent)))
    return element(
        "section",
        element("h2", "Scores"),
        table(
            "Brier score and log loss judge the confidence; smaller is better.", ("score", "", "", "95 %"), rows, wide=1
        ),
        element("p", f"Intervals of proportions are Wilson's, of the rest: {report['intervals']}.", class_="soft"),
    )


def confusions(confusion: Confusion) -> Markup:
    """The matrix where its classes are few enough to be seen, and the worst confusions."""
    count = len(confusion["classes"])
    cells = zip(confusion["label"], confusion["prediction"], confusion["records"], strict=True)
    wrong = sorted((-records, label, prediction) for label, prediction, records in cells if label != prediction)
    totals = dict.fromkeys(range(count), 0)
    for label, records in zip(confusion["label"], confusion["records"], strict=True):
        totals[label] += records
    names = confusion["classes"]
    rows = [
        (
            join(name(names[label]), " → ", name(names[prediction])),
            f"{-records:,}",
            units.share(-records / totals[label]),
        )
        for records, label, prediction in wrong[:CONFUSIONS_LISTED]
    ]
    worst = table(
        f"The worst {len(rows)} of {len(wrong):,} kinds of confusion",
        ("label → prediction", "records", "of the label"),
        rows,
    )
    many = f"{count:,} classes are too many to draw; these are the worst confusions."
    said = (
        many
        if count > MOST_CLASSES
        else "A row for each label, a column for each prediction; darker: more of the label."
    )
    if count > MOST_CLASSES:
        drawn = worst
    elif not wrong:
        drawn = join(heat_map(confusion), element("p", "Nothing was confused."))
    elif count > BESIDE:
        drawn = join(heat_map(confusion), folded("The worst confusions", worst))
    else:
        drawn = element("div", heat_map(confusion), worst, class_="pair")
    return element("section", element("h2", "Confusion"), element("p", said, class_="soft"), drawn)


def classes(rows: Sequence[ClassRow]) -> Markup:
    """F1 of the worst classes as bars, and the table of all."""
    known = sorted((row for row in rows if row["support"]), key=lambda row: (row["f1"]["value"] or 0.0, row["name"]))
    drawn = [
        (row["name"], _bar(row["f1"]), units.share(row["f1"]["value"] or 0.0), f"{row['support']:,}")
        for row in known[:CLASSES_DRAWN]
    ]
    which = "all classes" if len(known) <= CLASSES_DRAWN else f"the worst {CLASSES_DRAWN} of {len(known):,} classes"
    every = [
        (
            row["name"],
            f"{row['support']:,}",
            f"{row['predicted']:,}",
            *(join(units.share(row[key]["value"]), _small(row[key])) for key in ("precision", "recall", "f1")),
        )
        for row in rows[:CLASSES_LISTED]
    ]
    heads = ("class", "labels", "predictions", "precision", "recall", "F1")
    listed = f"The first {CLASSES_LISTED:,} of {len(rows):,} classes" if len(rows) > CLASSES_LISTED else "All classes"
    return element(
        "section",
        element("h2", "Classes"),
        table(f"F1 of {which}, the worst first, with 95 % intervals", ("class", "", "F1", "labels"), drawn, wide=1),
        folded("Precision, recall and F1 of each class", table(listed, heads, every)),
    )


def confidence(report: Report) -> Markup:
    """Reliability diagrams, and how far the confidence is from the accuracy."""
    calibration = report["calibration"]
    width, mass = calibration["equal_width"], calibration["equal_mass"]
    said = (
        f"Expected calibration error {units.share(width['ece'])}; of perfect confidences it would be "
        f"{units.share(width['ece_null'])}, and above {units.share(width['ece_null_p95'])} once in twenty times."
    )
    return element(
        "section",
        element("h2", "Confidence"),
        element("p", said),
        element("p", "Bars below the dashed line: too sure. Grey: the share of the records.", class_="soft"),
        charts.reliability(width["bins"]),
        folded("Bins of equal width", _bins(width)),
        folded(
            f"Bins of equal mass (calibration error {units.share(mass['ece'])})",
            charts.reliability(mass["bins"]),
            _bins(mass),
        ),
    )


def _bins(binning: Binning) -> Markup:
    rows = [
        (
            Markup(f"{units.share(entry['low'])} to {units.share(entry['high'])}"),
            f"{entry['records']:,}",
            units.share(entry["confidence"]),
            units.share(entry["accuracy"]["value"]),
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
