"""Numbers formatted for readers: about three digits, and a unit."""

from hybrid_batch.evaluation.report_schema import Measure

DASH = "—"


def percent(value: float | None) -> str:
    """A proportion as a percentage; a dash for None."""
    return DASH if value is None else f"{value:.1%}"


def ratio(value: float | None) -> str:
    """A proportion to four decimals; a dash for None."""
    return DASH if value is None else f"{value:.4f}"


def score(value: float | None) -> str:
    """A score without a unit, to three decimals and without a negative zero; a dash for None."""
    return DASH if value is None else f"{round(value, 3) + 0.0:.3f}"


def interval(measure: Measure, percent: bool = True) -> str:
    """The 95 % interval of a measure, as percentages or as scores; empty where it is unknown."""
    low, high = measure["low"], measure["high"]
    if low is None or high is None:
        return ""
    return f"{100 * low:.1f} to {100 * high:.1f}" if percent else f"{low:.3f} to {high:.3f}"


def ends(measure: Measure, digits: int = 4) -> str:
    """The 95 % interval of a measure as "LOW to HIGH"; a dash where it is unknown."""
    low, high = measure["low"], measure["high"]
    return DASH if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"


def duration(value_us: float | None) -> str:
    """Microseconds as µs, ms or s; a dash for None."""
    if value_us is None:
        return DASH
    magnitude = abs(value_us)
    if magnitude < 1e3:
        return f"{value_us:.3g} µs"
    if magnitude < 1e6:
        return f"{_three_digits(value_us / 1e3)} ms"
    return f"{_three_digits(value_us / 1e6)} s"


def byte_size(count: float) -> str:
    """Bytes as B, kB, MB, GB or TB (powers of 1000)."""
    if count < 1000:
        return f"{_three_digits(count)} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{_three_digits(count)} {unit}"
    return f"{count / 1000:,.1f} TB"


def _three_digits(value: float) -> str:
    """Three significant digits, or all digits of the whole part."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
