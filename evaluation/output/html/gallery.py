"""The section of pictures: the most confident errors, with their images where these can be had."""

import base64
from collections.abc import Callable, Sequence

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import name, table
from hybrid_batch.evaluation.report_schema import Exemplar

PICTURES = 48
PICTURES_BYTES = 600_000  # before base 64
LISTED = 100

Thumbnail = Callable[[str], bytes | None]
"""The name of an image to a small picture of it as WebP; None where it cannot be had."""


def gallery(exemplars: Sequence[Exemplar], thumbnail: Thumbnail) -> Markup:
    """At most `PICTURES` pictures of `PICTURES_BYTES` together; without any, a list of names."""
    figures, left = [], PICTURES_BYTES
    for exemplar in exemplars[:PICTURES]:
        picture = thumbnail(exemplar["image"])
        if picture is not None and len(picture) <= left:
            left -= len(picture)
            figures.append(_figure(exemplar, picture))
    rows = [
        (
            exemplar["image"],
            join(name(exemplar["label"]), " → ", name(exemplar["prediction"])),
            units.share(exemplar["confidence"]),
        )
        for exemplar in exemplars[:LISTED]
    ]
    listed = table("", ("image", "label → prediction", "confidence"), rows)
    shown = element("div", figures, class_="gallery") if figures else listed
    return element(
        "section",
        element("h2", "Most confident errors"),
        element(
            "p", f"{len(figures) or len(rows)} of {len(exemplars):,} errors kept, by falling confidence.", class_="soft"
        ),
        shown,
    )


def _figure(exemplar: Exemplar, picture: bytes) -> Markup:
    label, prediction = exemplar["label"], exemplar["prediction"]
    source = f"data:image/webp;base64,{base64.b64encode(picture).decode()}"
    caption = element(
        "figcaption",
        element("strong", name(prediction)),
        f" {units.share(exemplar['confidence'])}, is ",
        element("strong", name(label)),
        element("br"),
        element("small", name(exemplar["image"])),
    )
    image = element("img", src=source, alt=f"an image of {label}, taken for {prediction}")
    return element("figure", image, caption)
