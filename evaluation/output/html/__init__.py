"""A report as one HTML page without scripts and without network access, whatever text the log contains.

The page's content security policy permits only its own style, by hash, and images embedded in the page.
"""

import base64
import hashlib
from collections.abc import Sequence

from hybrid_batch.evaluation.output.html.header import opening, page_title
from hybrid_batch.evaluation.output.html.markup import Markup, element
from hybrid_batch.evaluation.output.html.sections import times
from hybrid_batch.evaluation.output.html.sections.classes import classes
from hybrid_batch.evaluation.output.html.sections.confidence import calibration, confidence_histogram
from hybrid_batch.evaluation.output.html.sections.confusions import confusions
from hybrid_batch.evaluation.output.html.sections.failures import failures
from hybrid_batch.evaluation.output.html.sections.gallery import Thumbnail, gallery
from hybrid_batch.evaluation.output.html.sections.predictions import predictions
from hybrid_batch.evaluation.output.html.sections.scores import scores
from hybrid_batch.evaluation.output.html.sections.sizes import sizes
from hybrid_batch.evaluation.output.html.sections.slices import slices
from hybrid_batch.evaluation.output.html.style import STYLE
from hybrid_batch.evaluation.report_schema import Report
from hybrid_batch.evaluation.run_facts import RunFacts

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'"


def no_thumbnail(image: str) -> None:
    """No thumbnail: for a report whose images are not available."""


def write_html(
    report: Report,
    thumbnail: Thumbnail = no_thumbnail,
    facts: Sequence[RunFacts] = (),
    notes: Sequence[str] = (),
) -> str:
    """The page, well-formed as HTML and as XML, to be written as UTF-8.

    `facts` are those of the evaluated runs, `notes` sentences about them, such as that a run is unfinished.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("title", page_title(report, facts)),
        element("style", Markup(STYLE)),
    )
    inside = element("main", opening(report, facts), _notes(report, notes), _sections(report, thumbnail))
    return f"<!DOCTYPE html>\n{element('html', head, element('body', inside), lang='en')}\n"


def _notes(report: Report, notes: Sequence[str]) -> Markup:
    sentences = [*notes, *report["bad_parts"], *report["notes"]]
    if not sentences:
        return Markup("")
    listed = element("ul", (element("li", text) for text in sentences))
    return element("section", element("h2", "Notes"), listed, class_="note")


def _sections(report: Report, thumbnail: Thumbnail) -> list[Markup]:
    """The sections that have data. Without labels the predictions and failed images come first."""
    coverage = report["coverage"]
    sections = []
    if coverage["labelled"]:
        sections += [_pair(scores(report), calibration(report)), confusions(report["confusion"]), classes(report)]
    elif coverage["errors"] < coverage["records"]:
        sections.append(_pair(predictions(report), confidence_histogram(report["confidence"])))
    failed = failures(report, thumbnail) if coverage["errors"] else Markup("")
    sections.insert(1, failed)
    cuts = [entry for entry in report["slices"].get("cut", []) if entry["stages"]]
    if cuts:
        sections += [times.parts(cuts), _pair(times.latency(cuts), sizes(cuts))]
    if report["exemplars"]:
        sections.append(gallery(report, thumbnail))
    return [*sections, slices(report)]


def _pair(*cards: Markup) -> Markup:
    return element("div", *cards, class_="pair")
