"""The figures that matter most, on cards below the heading."""

from collections.abc import Iterable

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.markup import Markup, element
from hybrid_batch.evaluation.output.html.tables import run_text
from hybrid_batch.evaluation.report_schema import Report, Slice


def cards(report: Report) -> Markup:
    """The cards, each with a name, a figure and what it refers to."""
    return element("dl", (_card(*card) for card in _figures(report)), class_="cards")


def _figures(report: Report) -> Iterable[tuple[str, str, str]]:
    coverage, overall, accuracy = report["coverage"], report["overall"], report["headline"]["accuracy"]
    if coverage["labelled"]:
        yield "accuracy", units.percent(accuracy["value"]), f"95 %: {units.interval(accuracy)}"
    yield "images", f"{coverage['records']:,}", _coverage_text(report)
    if not coverage["labelled"] and (most := _most_predicted(report)):
        share = (most["records"] - most["errors"]) / max(1, coverage["records"] - coverage["errors"])
        yield "most predicted", most["value"] or "", f"{units.percent(share)} of the classified images"
    latency = overall["stages"].get("latency")
    if not latency:
        return
    yield "median latency", units.duration(latency["p50_us"]), f"95 % within {units.duration(latency['p95_us'])}"
    speed = report["throughput"]
    yield "images per second", _rate(speed["images_per_s"]), f"in {_rate(speed['active_s'])} s"
    classified = max(1, coverage["records"] - coverage["errors"])
    if overall["cut_bytes"]:
        yield (
            "at the cut",
            units.byte_size(overall["cut_bytes"] / classified),
            f"per image, {_times(overall['cut_share'])} its file",
        )
    sent = overall["sent_bytes"]
    yield (
        "over the network",
        units.byte_size(sent / classified),
        f"per image, {_times(overall['sent_share'])} its file" if sent else "head and tail in one process",
    )


def _most_predicted(report: Report) -> Slice | None:
    """The most frequent prediction; None where the log has too many, or no image was classified."""
    known = [entry for entry in report["slices"].get("prediction", []) if entry["value"] is not None]
    return max(known, key=lambda entry: entry["records"] - entry["errors"], default=None)


def _coverage_text(report: Report) -> str:
    coverage = report["coverage"]
    failed = f"{coverage['errors']:,} failed" if coverage["errors"] else "none failed"
    if not coverage["labelled"]:
        return f"{failed}, no labels"
    return f"{failed}, {coverage['unlabelled']:,} without label" if coverage["unlabelled"] else failed


def _card(name: str, value: str, about: str) -> Markup:
    return element("div", element("dt", name), element("dd", run_text(value), element("small", about)))


def _times(share: float | None) -> str:
    return units.DASH if share is None else f"{share:.3g} x"


def _rate(value: float | None) -> str:
    if value is None:
        return units.DASH
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
