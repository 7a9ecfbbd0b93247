"""Can the confidences be trusted, and how are they distributed."""

from collections.abc import Sequence

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.histogram import Bar, share_histogram
from hybrid_batch.evaluation.output.html.charts.reliability import reliability_diagram
from hybrid_batch.evaluation.output.html.markup import Markup, element
from hybrid_batch.evaluation.output.html.tables import collapsible, remark, section, table
from hybrid_batch.evaluation.report_schema import Bin, Binning, Confidences, Report


def calibration(report: Report) -> Markup:
    """The calibration in a sentence, then the reliability diagram, then its bins as tables."""
    width, mass = report["calibration"]["equal_width"], report["calibration"]["equal_mass"]
    if not width["bins"] or width["ece"] is None:
        return section("Calibration", element("p", "No labelled image has a confidence, so nothing can be compared."))
    return section(
        "Calibration",
        element("p", _verdict(width), class_="lead"),
        remark(
            f"Expected calibration error {units.percent(width['ece'])}; perfect confidences of as many images would "
            f"have {units.percent(width['ece_null'])} on average, and more than "
            f"{units.percent(width['ece_null_p95'])} in 1 of 20 cases."
        ),
        reliability_diagram(width["bins"]),
        remark(
            "Dots: accuracy of the images with this confidence, with its 95 % interval. On the dashed line confidence "
            "and accuracy are equal; below it the model is too confident."
        ),
        collapsible("The bins as a table", _bin_table(width["bins"])),
        collapsible(
            f"Bins with equally many images (calibration error {units.percent(mass['ece'])})",
            reliability_diagram(mass["bins"]),
            _bin_table(mass["bins"]),
        ),
    )


def confidence_histogram(confidence: Confidences) -> Markup:
    """How confident the model is, for images with or without labels."""
    if not confidence["records"] or confidence["mean"] is None:
        return section("Confidence", element("p", "No image has a confidence."))
    columns = (confidence["low"], confidence["high"], confidence["counts"])
    bars = [Bar(low, high, count) for low, high, count in zip(*columns, strict=True)]
    unsure = sum(bar.count for bar in bars if bar.high <= 0.5 + 1e-9)
    return section(
        "Confidence",
        element(
            "p",
            f"Mean confidence {units.percent(confidence['mean'])}; "
            f"{units.percent(unsure / confidence['records'])} of the classified images have less than 50 %.",
            class_="lead",
        ),
        share_histogram(bars, "confidence", "images"),
        remark("Without labels nothing shows whether these confidences are justified."),
    )


def _verdict(binning: Binning) -> str:
    """Whether confidence and accuracy differ by more than chance, and in which direction on average."""
    total = sum(entry["records"] for entry in binning["bins"])
    confidence = sum(entry["records"] * (entry["confidence"] or 0.0) for entry in binning["bins"]) / total
    accuracy = sum(entry["records"] * (entry["accuracy"]["value"] or 0.0) for entry in binning["bins"]) / total
    means = f"mean confidence {units.percent(confidence)}, accuracy {units.percent(accuracy)}"
    ece, bound = binning["ece"], binning["ece_null_p95"]
    if ece is None or bound is None or ece <= bound:
        return f"No miscalibration beyond chance: {means}."
    if confidence > accuracy:
        return f"The model is too confident: {means}."
    return f"The model is not confident enough: {means}."


def _bin_table(bins: Sequence[Bin]) -> Markup:
    rows = [
        (
            Markup(f"{units.percent(entry['low'])} to {units.percent(entry['high'])}"),
            f"{entry['records']:,}",
            units.percent(entry["confidence"]),
            units.percent(entry["accuracy"]["value"]),
            units.interval(entry["accuracy"]),
        )
        for entry in bins
    ]
    return table("", ("confidence", "images", "mean", "accuracy", "95 %"), rows)
