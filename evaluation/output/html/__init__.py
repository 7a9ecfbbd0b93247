"""A report as one HTML page without scripts and without network access, whatever text the log contains.

The page's content security policy permits only its own style, by hash, and images embedded in the page.
"""

import base64
import hashlib

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html import costs, quality
from hybrid_batch.evaluation.output.html.gallery import Thumbnail, gallery
from hybrid_batch.evaluation.output.html.markup import Markup, element
from hybrid_batch.evaluation.output.html.style import STYLE
from hybrid_batch.evaluation.report_schema import Report

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'"


def no_thumbnail(image: str) -> None:
    """No thumbnail: for a report whose images are not available."""


def write_html(report: Report, thumbnail: Thumbnail = no_thumbnail) -> str:
    """The page, well-formed as HTML and as XML, to be written as UTF-8."""
    title = f"Evaluation of {report['coverage']['records']:,} records"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    body = element("body", element("main", _opening(report, title), _notes(report), _sections(report, thumbnail)))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _opening(report: Report, title: str) -> Markup:
    coverage, overall, accuracy = report["coverage"], report["overall"], report["headline"]["accuracy"]
    splits = ", ".join(
        f"{column} {values[0]['value']}"
        for column in ("cut", "codec", "tail")
        if len(values := report["slices"].get(column, [])) == 1
    )
    latency = overall["stages"].get("latency")
    cards = [
        (
            "accuracy",
            units.percent(accuracy["value"]),
            f"95 %: {units.interval(accuracy)}" if coverage["labelled"] else "no labels",
        ),
        (
            "records",
            f"{coverage['records']:,}",
            f"{coverage['errors']:,} errors, {coverage['unlabelled']:,} without a label",
        ),
    ]
    if latency:
        cards += [
            ("latency, median", units.duration(latency["p50_us"]), f"p95 {units.duration(latency['p95_us'])}"),
            (
                "images per second",
                _rate(report["throughput"]["images_per_s"]),
                f"in {_rate(report['throughput']['active_s'])} s",
            ),
            (
                "bytes sent",
                units.percent(overall["sent_share"]),
                f"of the {units.byte_size(overall['image_bytes'])} of the images",
            ),
        ]
    drawn = (
        element("div", element("dt", name), element("dd", value, element("small", about)))
        for name, value, about in cards
    )
    return element(
        "header", element("h1", title), element("p", splits, class_="soft"), element("dl", drawn, class_="cards")
    )


def _notes(report: Report) -> Markup:
    sentences = [*report["bad_parts"], *report["notes"]]
    if not sentences:
        return Markup("")
    return element(
        "section", element("h2", "Notes"), element("ul", (element("li", text) for text in sentences)), class_="note"
    )


def _sections(report: Report, thumbnail: Thumbnail) -> list[Markup]:
    """The sections that have data: no accuracy without labels, no times without a classified record."""
    sections = []
    if report["coverage"]["labelled"]:
        sections.append(element("div", quality.scores(report), quality.confidence(report), class_="pair"))
        sections += [quality.confusions(report["confusion"]), quality.classes(report["per_class"])]
    cuts = [entry for entry in report["slices"].get("cut", []) if entry["stages"]]
    if cuts:
        sections.append(element("div", costs.stages(cuts), costs.latency(cuts), class_="pair"))
        sections.append(costs.sizes(cuts))
    if report["exemplars"]:
        sections.append(gallery(report["exemplars"], thumbnail))
    sections.append(costs.slices(report))
    return sections


def _rate(value: float | None) -> str:
    if value is None:
        return units.DASH
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
