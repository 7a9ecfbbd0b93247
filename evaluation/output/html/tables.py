"""Tables: the text alternative of every chart, or the chart itself with bars in its cells."""

from collections.abc import Iterable, Sequence

from hybrid_batch.evaluation.output.html.markup import Markup, element


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], wide: int | None = None, kind: str | None = None
) -> Markup:
    """A table with a heading row, and a caption unless it is empty.

    The first cell of a row is its name, the cell in column `wide` a bar, all others numbers. `kind` is a class of the
    style: `names` keeps the first column on one line, `texts` aligns the other columns as text.
    """

    def column_class(column: int) -> str | None:
        if column == 0 or kind == "texts":
            return None
        return "wide" if column == wide else "n"

    head = element(
        "tr", (element("th", text, scope="col", class_=column_class(place)) for place, text in enumerate(heads))
    )
    body = (
        element(
            "tr",
            element("th", run_text(row[0]), scope="row"),
            (element("td", cell, class_=column_class(place)) for place, cell in enumerate(row) if place),
        )
        for row in rows
    )
    about = element("caption", caption) if caption else Markup("")
    inside = element("table", about, element("thead", head), element("tbody", body), class_=kind)
    return element("div", inside, class_="scroll")


def run_text(text: str) -> Markup:
    """Text from a log, isolated so that right-to-left letters do not reorder the text around it."""
    return text if isinstance(text, Markup) else element("bdi", text)


def section(title: str, *inside: Markup | str) -> Markup:
    """A card of the page with a heading."""
    return element("section", element("h2", title), inside)


def remark(*inside: str) -> Markup:
    """A paragraph that explains what is beside it."""
    return element("p", *inside, class_="soft")


def collapsible(summary: str, *inside: Markup) -> Markup:
    """Content that is hidden until the reader opens it, or finds it with the search of the browser."""
    return element("details", element("summary", summary), element("div", *inside, class_="tall", tabindex=0))
