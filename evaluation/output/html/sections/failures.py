"""Which images have no prediction, and why."""

import re

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.sections.gallery import Thumbnail, Thumbnails, figure
from hybrid_batch.evaluation.output.html.tables import collapsible, run_text, section, table
from hybrid_batch.evaluation.report_schema import Failure, Report

MAX_THUMBNAILS = 24
MAX_SHOWN = 9  # a row on a desktop; the others are to open
MAX_THUMBNAILS_BYTES = 200_000  # before base 64
MAX_REASONS = 10
MAX_LISTED = 200
_NUMBER = re.compile(r"\d+")
_NO_PREDICTION = "no prediction"


def failures(report: Report, thumbnail: Thumbnail) -> Markup:
    """The reasons with their numbers, the images that can still be shown, and a list of files."""
    listed, total = report["failures"], report["coverage"]["errors"]
    share = units.percent(total / max(1, report["coverage"]["records"]))
    return section(
        "Failed images",
        element(
            "p",
            f"{share} of the images failed; no score and no latency on this page includes them.",
            class_="lead",
        ),
        _reasons(listed, total),
        _thumbnails(listed, thumbnail),
        collapsible(_which(min(MAX_LISTED, len(listed)), total), _files(listed)),
    )


def _reasons(listed: list[Failure], total: int) -> Markup:
    """The reasons by frequency; reasons that differ in numbers only are one, with … in place of the numbers."""
    texts: dict[str, list[str]] = {}
    for failure in listed:
        reason = _reason(failure)
        texts.setdefault(_NUMBER.sub("…", reason), []).append(reason)
    ordered = sorted(texts.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = [(same[0] if len(set(same)) == 1 else pattern, f"{len(same):,}") for pattern, same in ordered[:MAX_REASONS]]
    of = "" if len(listed) == total else f"Of the first {len(listed):,} failed images by name"
    return table(of, ("reason", "images"), rows, kind="reasons")


def _thumbnails(listed: list[Failure], thumbnail: Thumbnail) -> Markup:
    found = Thumbnails(thumbnail, MAX_THUMBNAILS_BYTES)
    figures = []
    for failure in listed[:MAX_THUMBNAILS]:
        image = found.load(failure["image"])
        if image is not None:
            about = element("small", run_text(failure["image"]))
            figures.append(figure(image, f"failed image {failure['image']}", about))
    if not figures:
        return Markup("")
    first, more = (element("div", some, class_="gallery little") for some in (figures[:MAX_SHOWN], figures[MAX_SHOWN:]))
    return join(first, collapsible(f"{len(figures) - MAX_SHOWN} more", more)) if len(figures) > MAX_SHOWN else first


def _files(listed: list[Failure]) -> Markup:
    rows = ((failure["image"], run_text(_reason(failure))) for failure in listed[:MAX_LISTED])
    return table("", ("image", "reason"), rows, kind="texts")


def _which(shown: int, total: int) -> str:
    if shown < total:
        return f"The first {shown:,} of {total:,} files"
    return f"All {total:,} files" if total > 1 else "The file"


def _reason(failure: Failure) -> str:
    return failure["error"] or _NO_PREDICTION
