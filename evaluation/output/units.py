"""Numbers as a reader wants them: three digits or so, and a unit."""

from hybrid_batch.evaluation.report_schema import Measure

DASH = "—"


def share(value: float | None) -> str:
    """A proportion in per cent."""
    return DASH if value is None else f"{value:.1%}"


def number(value: float | None) -> str:
    """A score without a unit."""
    return DASH if value is None else f"{value:.3f}"


def interval(measure: Measure, percent: bool = True) -> str:
    """The 95 % interval of a measure, in per cent or as it is; empty where it has none."""
    low, high = measure["low"], measure["high"]
    if low is None or high is None:
        return ""
    return f"{100 * low:.1f} to {100 * high:.1f}" if percent else f"{low:.3f} to {high:.3f}"


def duration(value_us: float | None) -> str:
    """Microseconds in the unit that suits them."""
    if value_us is None:
        return DASH
    size = abs(value_us)
    if size < 1e3:
        return f"{value_us:.3g} µs"
    if size < 1e6:
        return f"{_three(value_us / 1e3)} ms"
    return f"{_three(value_us / 1e6)} s"


def size(count: float) -> str:
    """Bytes, by thousands."""
    if count < 1000:
        return f"{count:.4g} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{_three(count)} {unit}"
    return f"{count / 1000:,.1f} TB"


def _three(value: float) -> str:
    """At least three digits, none of them dropped before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
