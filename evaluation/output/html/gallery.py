"""The gallery of the most confident errors, with thumbnails of the images that are available."""

import base64
from collections.abc import Callable, Sequence

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import run_text, table
from hybrid_batch.evaluation.report_schema import ConfidentError

MAX_THUMBNAILS = 48
MAX_THUMBNAILS_BYTES = 600_000  # before base 64
MAX_LISTED = 100

Thumbnail = Callable[[str], bytes | None]
"""A function from the name of an image to its thumbnail as WebP, or None where the image is not available."""


def gallery(errors: Sequence[ConfidentError], thumbnail: Thumbnail) -> Markup:
    """At most `MAX_THUMBNAILS` images with `MAX_THUMBNAILS_BYTES` in total; if none is available, a list of names."""
    figures, left = [], MAX_THUMBNAILS_BYTES
    for error in errors[:MAX_THUMBNAILS]:
        image = thumbnail(error["image"])
        if image is not None and len(image) <= left:
            left -= len(image)
            figures.append(_figure(error, image))
    rows = [
        (
            error["image"],
            join(run_text(error["label"]), " → ", run_text(error["prediction"])),
            units.percent(error["confidence"]),
        )
        for error in errors[:MAX_LISTED]
    ]
    listed = table("", ("image", "label → prediction", "confidence"), rows)
    shown = element("div", figures, class_="gallery") if figures else listed
    return element(
        "section",
        element("h2", "Most confident errors"),
        element(
            "p",
            f"{len(figures) or len(rows)} of {len(errors):,} recorded errors, by descending confidence.",
            class_="soft",
        ),
        shown,
    )


def _figure(error: ConfidentError, thumbnail: bytes) -> Markup:
    label, prediction = error["label"], error["prediction"]
    source = f"data:image/webp;base64,{base64.b64encode(thumbnail).decode()}"
    caption = element(
        "figcaption",
        element("strong", run_text(prediction)),
        f" {units.percent(error['confidence'])}, label ",
        element("strong", run_text(label)),
        element("br"),
        element("small", run_text(error["image"])),
    )
    image = element("img", src=source, alt=f"image of {label}, classified as {prediction}")
    return element("figure", image, caption)
