"""How many bytes: those of the files, those that cross the cut, and those that a network carried."""

from collections.abc import Sequence

from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.charts.bars import bar
from hybrid_batch.evaluation.output.html.markup import Markup
from hybrid_batch.evaluation.output.html.tables import remark, section, table
from hybrid_batch.evaluation.report_schema import Slice

MAX_CUTS = 40
_PARTS = {"image file": "image_bytes", "at the cut": "cut_bytes", "sent": "sent_bytes", "received": "received_bytes"}


def sizes(cuts: Sequence[Slice]) -> Markup:
    """Bytes per image: of one cut as bars, of several cuts as a row for each."""
    drawn = _one_cut(cuts[0]) if len(cuts) == 1 else _several_cuts(cuts)
    return section("Bytes per image", remark(_about(cuts)), drawn)


def _about(cuts: Sequence[Slice]) -> str:
    crossing = "Bytes at the cut are those of the request from head to tail."
    if any(cut["sent_bytes"] for cut in cuts):
        return f"{crossing} Bytes sent and received are those that a network carried."
    return f"{crossing} Head and tail shared a process, so no network carried them."


def _one_cut(cut: Slice) -> Markup:
    means = {name: _mean(cut, key) for name, key in _PARTS.items()}
    full, whole = max(1.0, *means.values()), means["image file"]
    rows = [
        (name, bar(mean / full, "quiet" if name == "image file" else "a"), units.byte_size(mean), _times(mean, whole))
        for name, mean in means.items()
    ]
    return table("", ("what", "", "bytes", "x file"), rows, wide=1, kind="names")


def _several_cuts(cuts: Sequence[Slice]) -> Markup:
    shown = cuts[:MAX_CUTS]
    full = max(1.0, *(_mean(cut, "cut_bytes") for cut in shown))
    rows = [
        (
            "(none)" if cut["value"] is None else cut["value"],
            bar(_mean(cut, "cut_bytes") / full),
            *(units.byte_size(_mean(cut, key)) for key in _PARTS.values()),
        )
        for cut in shown
    ]
    which = "" if len(cuts) <= MAX_CUTS else f"The first {MAX_CUTS} of {len(cuts):,} cuts"
    return table(which, ("cut", "", "file", "cut", "sent", "received"), rows, wide=1, kind="names")


def _times(mean: float, whole: float) -> str:
    if not whole:
        return units.DASH
    return f"{mean / whole:.3g}" if mean == 0 or mean >= whole / 1000 else "< 0.001"


def _mean(cut: Slice, key: str) -> float:
    return float(cut[key]) / max(1, cut["records"] - cut["errors"])  # type: ignore[literal-required]
