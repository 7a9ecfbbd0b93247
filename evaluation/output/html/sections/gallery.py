"""Images of the log: the most confident wrong predictions, with thumbnails of the images that are available."""

import base64
from collections.abc import Callable, Iterator, Sequence

from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.evaluation.counting.confident_errors import PER_CELL
from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import collapsible, remark, run_text, section, table
from hybrid_batch.evaluation.report_schema import ConfidentError, Report

MAX_THUMBNAILS = 48
MAX_THUMBNAILS_BYTES = 600_000  # before base 64
MAX_SHOWN = 14  # two rows on a desktop; the others are to open
MAX_LISTED = 100

Thumbnail = Callable[[str], bytes | None]
"""A function from the name of an image to its thumbnail as WebP, or None where the image is not available."""


class Thumbnails:
    """The thumbnails of one section, of at most `limit` bytes together."""

    def __init__(self, thumbnail: Thumbnail, limit: int) -> None:
        self._thumbnail, self._left = thumbnail, limit

    def load(self, image: str) -> bytes | None:
        """The thumbnail; None where the image is not available, or the limit is reached."""
        data = self._thumbnail(image)
        if data is None or len(data) > self._left:
            return None
        self._left -= len(data)
        return data


def gallery(report: Report, thumbnail: Thumbnail) -> Markup:
    """At most `MAX_THUMBNAILS` images with `MAX_THUMBNAILS_BYTES` in total; if none is available, a list of names."""
    errors, thumbnails = report["exemplars"], Thumbnails(thumbnail, MAX_THUMBNAILS_BYTES)
    found = ((error, thumbnails.load(error["image"])) for error in errors[:MAX_THUMBNAILS])
    figures = [_figure(error, image) for error, image in found if image is not None]
    confusion = report["confusion"]
    cells = zip(confusion["label"], confusion["prediction"], confusion["records"], strict=True)
    wrong = sum(records for label, prediction, records in cells if label != prediction)
    count = len(figures) or min(MAX_LISTED, len(errors))
    about = f"{count:,} of {format_count(wrong, 'wrong prediction')}, by descending confidence"
    shown = _shown(figures) if figures else _listed(errors)
    return section("Most confident wrong predictions", remark(f"{about}; at most {PER_CELL} of each pair."), *shown)


def _shown(figures: Sequence[Markup]) -> Iterator[Markup]:
    first, more = figures[:MAX_SHOWN], figures[MAX_SHOWN:]
    yield element("div", first, class_="gallery")
    if more:
        yield collapsible(f"{len(more):,} more", element("div", more, class_="gallery"))


def _listed(errors: Sequence[ConfidentError]) -> Iterator[Markup]:
    yield remark(
        "The images could not be read where the run found them; name their folder with ",
        element("code", "hybrid-batch report --images DIR"),
        ".",
    )
    yield collapsible("The names of the images", _table(errors))


def figure(thumbnail: bytes, about: str, *caption: Markup | str) -> Markup:
    """A thumbnail with its text alternative and a caption."""
    source = f"data:image/webp;base64,{base64.b64encode(thumbnail).decode()}"
    return element("figure", element("img", src=source, alt=about), element("figcaption", *caption))


def _table(errors: Sequence[ConfidentError]) -> Markup:
    rows = (
        (
            error["image"],
            join(run_text(error["label"]), " → ", run_text(error["prediction"])),
            units.percent(error["confidence"]),
        )
        for error in errors[:MAX_LISTED]
    )
    return table("", ("image", "label → prediction", "confidence"), rows)


def _figure(error: ConfidentError, thumbnail: bytes) -> Markup:
    label, prediction = error["label"], error["prediction"]
    return figure(
        thumbnail,
        f"image of {label}, classified as {prediction}",
        element("strong", run_text(prediction)),
        f" {units.percent(error['confidence'])}",
        element("br"),
        "label ",
        element("strong", run_text(label)),
        element("br"),
        element("small", run_text(error["image"])),
    )
