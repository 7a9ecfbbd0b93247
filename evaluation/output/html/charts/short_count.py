"""Counts for places without room for five digits."""

_UNITS = (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))


def short_count(count: int) -> str:
    """A count in at most four characters, rounded to two digits or more: 999, 1k, 1.2k, 35k."""
    if count < 1000:
        return str(count)
    for unit, size in _UNITS:
        if count < 999.5 * size:
            value = count / size
            return f"{value:.1f}".removesuffix(".0") + unit if value < 9.95 else f"{value:.0f}{unit}"
    return f"{count:.0e}"
