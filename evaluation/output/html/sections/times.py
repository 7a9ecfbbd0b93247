"""How long did it take: the parts that add up to the latency, and its distribution."""

from collections.abc import Sequence

from hybrid_batch.data.log.records import STAGES
from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.bars import stacked_bar, swatch
from hybrid_batch.evaluation.output.html.charts.latency_curves import LatencyCurve, latency_curves
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import collapsible, remark, run_text, section, table
from hybrid_batch.evaluation.report_schema import LATENCY_PARTS, QUANTILES, STAGE_NOTE, Slice, StageLatency

MAX_CUTS = 40
MAX_CURVES = 8
_STAGES = STAGES[:-1]  # the last is the latency, which the others add up to
_WORK = tuple(stage for stage in _STAGES if stage != "queue")
_WAITS = tuple(part for part in LATENCY_PARTS if part not in _STAGES)
_NAMES = {
    "batch_wait": "wait for the batch",
    "head_wait": "wait for the head",
    "encode_wait": "wait for the encoder",
    "send_wait": "wait to send",
    "queue": "wait for the tail",
}
_QUANTILE_NAMES = {"p50_us": "p50", "p90_us": "p90", "p95_us": "p95", "p99_us": "p99", "p999_us": "p99.9"}
_COLOURS = {part: str(place) for place, part in enumerate(_STAGES)} | {
    part: f"wait-{place}" for place, part in enumerate(_WAITS)
}


def parts(cuts: Sequence[Slice]) -> Markup:
    """The mean of each part of the latency: a stacked bar and a table for each cut."""
    if any(part in cut["stages"] for cut in cuts for part in _WAITS):
        about = "The parts of an image's latency, as means: its own share of the work, and what it waited for."
    else:
        about = (
            "Mean time of each stage per image. The log does not hold the times of waiting, which the latency includes."
        )
    known = [part for part in LATENCY_PARTS if any(_mean(cut, part) for cut in cuts)]
    key = element("ul", (element("li", swatch(_COLOURS[part]), _name(part)) for part in known), class_="key")
    full = max(max(_mean(cut, "latency"), _sum(cut)) for cut in cuts)
    work = max(sum(_mean(cut, stage) for stage in _WORK) for cut in cuts)
    few = cuts[:MAX_CUTS]
    bars = element(
        "div",
        key,
        table(_which(cuts) or "All parts", ("cut", "", "latency"), (_bar(cut, known, full) for cut in few), wide=1),
        table("Without waiting", ("cut", "", "sum"), (_bar(cut, _WORK, work) for cut in few), wide=1),
    )
    tables = [_part_table(cut) if len(cuts) == 1 else collapsible(_value(cut), _part_table(cut)) for cut in few]
    columns = element("div", bars, element("div", *tables), class_="columns")
    return section("Where the time goes", remark(about), columns, remark(STAGE_NOTE))


def latency(cuts: Sequence[Slice]) -> Markup:
    """The distribution of the latency, one curve for each cut."""
    most = sorted(cuts, key=lambda cut: -cut["records"])[:MAX_CURVES]
    lines = [line for cut in cuts if cut in most and (line := _curve(cut))]
    key = (element("li", swatch(str(place)), run_text(line.name)) for place, line in enumerate(lines))
    rows = [
        (_value(cut), *(units.duration(_time(cut["stages"]["latency"], quantile)) for quantile in _QUANTILE_NAMES))
        for cut in cuts[:MAX_CUTS]
    ]
    return section(
        "Latency",
        remark("Time from the request of an image's file to the scores of its batch; dots at p50, p95 and p99."),
        latency_curves(lines) if lines else Markup(""),
        element("ul", key, class_="key"),
        table(_which(cuts), ("cut", *_QUANTILE_NAMES.values()), rows),
    )


def _curve(cut: Slice) -> LatencyCurve | None:
    stage = cut["stages"]["latency"]
    if not stage["histogram"]:
        return None
    keys = ("p50_us", "p95_us", "p99_us")
    marks = [(_QUANTILE_NAMES[key], _time(stage, key), QUANTILES[key] / 1000) for key in keys]
    return LatencyCurve(_value(cut), stage["histogram"], marks)


def _bar(cut: Slice, parts: Sequence[str], full: float) -> tuple[str, ...]:
    """The parts end to end; the number is the latency for all parts, and the sum for the parts without waiting."""
    values = [(_COLOURS[part], _mean(cut, part)) for part in parts]
    length = sum(value for _, value in values) if parts is _WORK else _mean(cut, "latency")
    return _value(cut), stacked_bar(values, full), units.duration(length)


def _part_table(cut: Slice) -> Markup:
    """The parts in the order in which an image meets them, and their sum beside the latency."""
    whole = _mean(cut, "latency")
    rows = [
        (
            join(swatch(_COLOURS[part]), " ", _name(part)),
            units.duration(_mean(cut, part)),
            units.percent(_mean(cut, part) / whole if whole else None),
            *(units.duration(_time(cut["stages"][part], key)) for key in ("p50_us", "p95_us")),
        )
        for part in LATENCY_PARTS
        if _mean(cut, part)
    ]
    added = _sum(cut)
    share = units.percent(added / whole if whole else None)
    rows.append((Markup("sum of the parts"), units.duration(added), share, "", ""))
    rows.append((Markup("latency"), units.duration(whole), "", *_latency_quantiles(cut)))
    return table("", ("part", "mean", "share", "p50", "p95"), rows, kind="sums")


def _latency_quantiles(cut: Slice) -> list[str]:
    return [units.duration(_time(cut["stages"]["latency"], key)) for key in ("p50_us", "p95_us")]


def _sum(cut: Slice) -> float:
    return sum(_mean(cut, part) for part in LATENCY_PARTS)


def _mean(cut: Slice, part: str) -> float:
    return cut["stages"][part]["mean_us"] if part in cut["stages"] else 0.0


def _time(stage: StageLatency, key: str) -> float:
    return float(stage[key])  # type: ignore[literal-required]


def _name(part: str) -> str:
    return _NAMES.get(part, part)


def _value(entry: Slice) -> str:
    return "(none)" if entry["value"] is None else entry["value"]


def _which(cuts: Sequence[Slice]) -> str:
    return "" if len(cuts) <= MAX_CUTS else f"The first {MAX_CUTS} of {len(cuts):,} cuts"
