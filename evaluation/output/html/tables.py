"""Tables: the text alternative of every chart, and often the chart itself with a bar in its cells."""

from collections.abc import Iterable, Sequence

from hybrid_batch.evaluation.output.html.markup import Markup, element


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], wide: int | None = None) -> Markup:
    """Rows of cells under a caption, unless it is empty.

    The first cell of each is its name; all others are numbers, but for those of column `wide`, which hold bars.
    """

    def kind(column: int) -> str | None:
        if column == 0:
            return None
        return "wide" if column == wide else "n"

    head = element("tr", (element("th", text, scope="col", class_=kind(place)) for place, text in enumerate(heads)))
    body = (
        element(
            "tr",
            element("th", name(row[0]), scope="row"),
            (element("td", cell, class_=kind(place)) for place, cell in enumerate(row) if place),
        )
        for row in rows
    )
    about = element("caption", caption) if caption else Markup("")
    inside = element("table", about, element("thead", head), element("tbody", body))
    return element("div", inside, class_="scroll")


def name(text: str) -> Markup:
    """A word of the run, kept from turning the direction of what stands around it."""
    return text if isinstance(text, Markup) else element("bdi", text)


def folded(summary: str, *inside: Markup) -> Markup:
    """What is there for those who want it."""
    return element("details", element("summary", summary), element("div", *inside, class_="tall", tabindex=0))
