"""Which classes are recognised well and which are not.

With many classes most have few images, and a list of the worst shows chance: 0 % of one image proves nothing. So the
page lists the classes whose F1 differs from the mean by more than chance, draws the distribution, and offers a search
field and all classes in groups that can be opened.
"""

from collections.abc import Iterator, Sequence

from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.bars import IntervalAxis
from hybrid_batch.evaluation.output.html.charts.histogram import Bar, share_histogram
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import collapsible, remark, run_text, section, table
from hybrid_batch.evaluation.report_schema import ClassRow, Measure, Report

MAX_ALL_SHOWN = 30
MAX_CLEAR = 15
MIN_LABELS = 5  # of a class that is called better or worse than the mean
MAX_CLASSES_LISTED = 1000
_BINS = 10
_GROUP = 50  # classes
_WHOLE = IntervalAxis(0.0, 1.0)
_SEARCH_ID = "class-names"


def classes(report: Report) -> Markup:
    """Up to `MAX_ALL_SHOWN` classes in a table; of more classes those that differ clearly, and the rest to open."""
    rows = report["per_class"]
    known = sorted((row for row in rows if row["support"]), key=lambda row: (row["f1"]["value"] or 0.0, row["name"]))
    if len(known) <= MAX_ALL_SHOWN:
        shown = _f1_table("F1 of each class, the worst first", known, IntervalAxis.around(row["f1"] for row in known))
        return section("Classes", shown, collapsible("Precision and recall of each class", _full_table(rows)))
    return section("Classes", *_many(report, known), _search(rows), *_groups(rows), _everything())


def _many(report: Report, known: Sequence[ClassRow]) -> Iterator[Markup]:
    supports = sorted(row["support"] for row in known)
    middle = supports[len(supports) // 2]
    mean = report["headline"]["f1_macro"]["value"] or 0.0
    enough = [row for row in known if row["support"] >= MIN_LABELS]
    low = sorted((row for row in enough if _end(row["f1"], "high") < mean), key=lambda row: _end(row["f1"], "high"))
    high = sorted((row for row in enough if _end(row["f1"], "low") > mean), key=lambda row: -_end(row["f1"], "low"))
    labels = f"{supports[0]:,} to {supports[-1]:,} labels, median {middle:,}"
    if supports[0] == supports[-1]:
        labels = f"{format_count(middle, 'label')} each"
    without = len(report["per_class"]) - len(known)
    others = f" and {format_count(without, 'class', 'classes')} without labels, whose F1 is 0" if without else ""
    yield element(
        "p",
        f"{len(known):,} classes have labels: {labels}. Mean F1 {units.percent(mean)}, of these classes{others}.",
        class_="lead",
    )
    yield share_histogram(_distribution(known), "F1 of the class", "classes")
    if not low and not high:
        yield element(
            "p",
            "No class differs from the mean F1 by more than chance: each has too few images for a figure of its own.",
        )
        return
    tables = [
        _f1_table(
            f"{name}: {format_count(len(rows), 'class', 'classes')}"
            + f", listed: {MAX_CLEAR}" * (len(rows) > MAX_CLEAR),
            rows[:MAX_CLEAR],
        )
        for name, rows in (("Clearly worse than the mean", low), ("Clearly better than the mean", high))
        if rows
    ]
    yield element("div", tables, class_="columns")
    yield remark(f"Clearly: at least {MIN_LABELS} labels, and a 95 % interval of F1 that does not contain the mean.")


def _distribution(known: Sequence[ClassRow]) -> list[Bar]:
    counts = [0] * _BINS
    for row in known:
        counts[min(_BINS - 1, int((row["f1"]["value"] or 0.0) * _BINS))] += 1
    return [Bar(place / _BINS, (place + 1) / _BINS, count) for place, count in enumerate(counts)]


def _f1_table(caption: str, rows: Sequence[ClassRow], axis: IntervalAxis = _WHOLE) -> Markup:
    cells = (
        (row["name"], axis.draw(_or_zero(row["f1"])), units.percent(row["f1"]["value"] or 0.0), f"{row['support']:,}")
        for row in rows
    )
    return table(caption, ("class", axis.head(), "F1", "labels"), cells, wide=1)


def _search(rows: Sequence[ClassRow]) -> Markup:
    """A field whose suggestions are the classes with their figures: the browser filters them without a script."""
    options = (element("option", value=_sentence(row)) for row in rows[:MAX_CLASSES_LISTED])
    hint = "type a part of its name"
    field = element("input", type="search", list=_SEARCH_ID, placeholder=hint, autocomplete="off")
    label = element("label", element("span", "Find a class"), field)
    return element("div", label, element("datalist", options, id=_SEARCH_ID), class_="search")


def _sentence(row: ClassRow) -> str:
    figures = ", ".join(
        f"{name} {units.percent(measure['value'])}"
        for name, measure in (("precision", row["precision"]), ("recall", row["recall"]), ("F1", row["f1"]))
        if measure["value"] is not None
    )
    return f"{row['name']}: {format_count(row['support'], 'label')}" + f", {figures}" * bool(figures)


def _groups(rows: Sequence[ClassRow]) -> Iterator[Markup]:
    """All classes by name, in groups that can be opened."""
    listed = sorted(rows[:MAX_CLASSES_LISTED], key=lambda row: row["name"])
    groups = (listed[start : start + _GROUP] for start in range(0, len(listed), _GROUP))
    title = f"The first {len(listed):,} of {len(rows):,} classes" if len(rows) > len(listed) else "All classes"
    yield element("h3", f"{title}, by name")
    yield element("div", (collapsible(_range(group), _full_table(group)) for group in groups), class_="groups")


def _range(group: Sequence[ClassRow]) -> Markup:
    first, last = group[0]["name"], group[-1]["name"]
    return join(run_text(first), " to ", run_text(last)) if first != last else run_text(first)


def _everything() -> Markup:
    return remark(element("code", "hybrid-batch evaluate"), " writes all figures of all classes as per_class.csv.")


def _full_table(rows: Sequence[ClassRow]) -> Markup:
    cells = (
        (
            row["name"],
            f"{row['support']:,}",
            f"{row['predicted']:,}",
            *(join(units.percent(row[key]["value"]), _small(row[key])) for key in ("precision", "recall", "f1")),
        )
        for row in rows
    )
    return table("", ("class", "labels", "predicted", "precision", "recall", "F1"), cells, kind="narrow")


def _or_zero(measure: Measure) -> Measure:
    return {**measure, "value": measure["value"] or 0.0}


def _end(measure: Measure, end: str) -> float:
    value = measure["low"] if end == "low" else measure["high"]
    return (0.0 if end == "low" else 1.0) if value is None else value


def _small(measure: Measure) -> Markup:
    low, high = measure["low"], measure["high"]
    if low is None or high is None:
        return Markup("")
    return join(element("br"), element("small", f"{100 * low:.0f} to {100 * high:.0f}", class_="soft"))
