"""The sections about the costs of predictions (time by stage, latency, bytes), and the tables of slices."""

from collections.abc import Sequence

from hybrid_batch.data.log.records import STAGES
from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html import charts
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import collapsible, run_text, table
from hybrid_batch.evaluation.report_schema import QUANTILES, Report, Slice, StageLatency

MAX_CUTS = 40
MAX_CURVES = 8
MAX_SLICES_LISTED = 200
_WORK = STAGES[:-1]  # the last is the latency, which overlaps with the other stages
_QUANTILE_NAMES = {"p50_us": "p50", "p90_us": "p90", "p95_us": "p95", "p99_us": "p99", "p999_us": "p99.9"}


def stages(cuts: Sequence[Slice]) -> Markup:
    """The mean time of each stage, a stacked bar for each cut."""
    means = {_value(cut): [cut["stages"][stage]["mean_us"] for stage in _WORK] for cut in cuts}
    full = max(map(sum, means.values()))
    rows = [(cut, charts.stacked_bar(times, full), units.duration(sum(times))) for cut, times in means.items()]
    key = [element("li", _swatch(place), stage) for place, stage in enumerate(_WORK)]
    return element(
        "section",
        element("h2", "Time by stage"),
        element("p", "Mean time of each stage per image: the time of the batch divided by its images.", class_="soft"),
        element("ul", key, class_="key"),
        table(_which(cuts), ("cut", "", "sum"), rows[:MAX_CUTS], wide=1),
        [_times(cuts[0])] if len(cuts) == 1 else [collapsible(_value(cut), _times(cut)) for cut in cuts[:MAX_CUTS]],
    )


def latency(cuts: Sequence[Slice]) -> Markup:
    """The distribution of the latency, one curve for each cut."""
    most = sorted(cuts, key=lambda cut: -cut["records"])[:MAX_CURVES]
    shown = [cut for cut in cuts if cut in most]
    lines = []
    for cut in shown:
        stage = cut["stages"]["latency"]
        if stage["histogram"]:
            marks = [
                (_QUANTILE_NAMES[key], _time(stage, key), QUANTILES[key] / 1000)
                for key in ("p50_us", "p95_us", "p99_us")
            ]
            lines.append(charts.LatencyCurve(_value(cut), stage["histogram"], marks))
    key = [element("li", _swatch(place), run_text(line.name)) for place, line in enumerate(lines)]
    rows = [
        (_value(cut), *(units.duration(_time(cut["stages"]["latency"], quantile)) for quantile in _QUANTILE_NAMES))
        for cut in cuts[:MAX_CUTS]
    ]
    return element(
        "section",
        element("h2", "Latency"),
        element(
            "p",
            "Time from the request of an image's file to the scores of its batch; dots at p50, p95 and p99.",
            class_="soft",
        ),
        charts.latency_curves(lines) if lines else Markup(""),
        element("ul", key, class_="key"),
        table(_which(cuts), ("cut", *_QUANTILE_NAMES.values()), rows),
    )


def sizes(cuts: Sequence[Slice]) -> Markup:
    """Bytes sent per image at each cut, compared with the bytes of the image."""
    means = [(cut, cut["sent_bytes"] / _classified(cut), cut["image_bytes"] / _classified(cut)) for cut in cuts]
    full = max(1.0, *(max(sent, image) for _, sent, image in means))
    rows = [
        (
            _value(cut),
            join(charts.bar(sent / full), charts.bar(image / full, class_="quiet")),
            units.byte_size(sent),
            units.byte_size(image),
            units.DASH if cut["sent_share"] is None else f"{cut['sent_share']:.1%}",
        )
        for cut, sent, image in means[:MAX_CUTS]
    ]
    return element(
        "section",
        element("h2", "Bytes"),
        element("p", "Bytes sent per image (above), and bytes of the image itself (below, grey).", class_="soft"),
        table(_which(cuts), ("cut", "", "sent", "image", "share"), rows, wide=1),
    )


def slices(report: Report) -> Markup:
    """A table for each column with more than one value."""
    tables = [
        collapsible(f"By {column}: {len(values):,} values", _slices(column, values))
        for column, values in sorted(report["slices"].items())
        if len(values) > 1
    ]
    return element("section", element("h2", "Slices"), tables) if tables else Markup("")


def _slices(column: str, values: Sequence[Slice]) -> Markup:
    rows = []
    for entry in values[:MAX_SLICES_LISTED]:
        accuracy, stage = entry["accuracy"], entry["stages"].get("latency")
        rows.append(
            (
                _value(entry),
                f"{entry['records']:,}",
                f"{entry['errors']:,}",
                charts.bar(accuracy["value"], accuracy["low"], accuracy["high"]),
                units.percent(accuracy["value"]),
                *(units.duration(_time(stage, key) if stage else None) for key in ("p50_us", "p95_us")),
                units.percent(entry["sent_share"]),
            )
        )
    heads = (column, "records", "errors", "", "accuracy", "p50", "p95", "sent")
    caption = f"The first {MAX_SLICES_LISTED} values" if len(values) > MAX_SLICES_LISTED else ""
    return table(caption, heads, rows, wide=3)


def _times(cut: Slice) -> Markup:
    keys = ("mean_us", "p50_us", "p95_us", "p99_us", "max_us")
    rows = [(Markup(stage), *(units.duration(_time(cut["stages"][stage], key)) for key in keys)) for stage in STAGES]
    return table("", ("stage", "mean", "p50", "p95", "p99", "max"), rows)


def _time(stage: StageLatency, key: str) -> float:
    return float(stage[key])  # type: ignore[literal-required]


def _classified(cut: Slice) -> int:
    return max(1, cut["records"] - cut["errors"])


def _value(entry: Slice) -> str:
    return "(none)" if entry["value"] is None else entry["value"]


def _which(cuts: Sequence[Slice]) -> str:
    return "" if len(cuts) <= MAX_CUTS else f"The first {MAX_CUTS} of {len(cuts):,} cuts"


def _swatch(place: int) -> Markup:
    square = element("rect", class_=f"fill-{place}", width=12, height=12)
    return element("svg", square, viewBox="0 0 12 12", aria_hidden="true")
