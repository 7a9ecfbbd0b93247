"""Numbers formatted for people."""

import math


def format_number(value: float) -> str:
    """Format with at most three significant digits and without an exponent: 0.0123, 1.2, 12,300."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    places = 2 - math.floor(math.log10(abs(value)))
    text = f"{round(value, places):,.{max(0, places)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_percent(share: float) -> str:
    """Format a share of 1 as a whole percentage; shares between 0 and 1 never become 0% or 100%."""
    return "<1%" if 0 < share < 0.005 else ">99%" if 0.995 <= share < 1 else f"{share:.0%}"


def format_count(number: int, noun: str, plural: str | None = None) -> str:
    """Format a number with its noun: 1 image, 1,200 images."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
