"""Numbers for people."""

import math


def figure(value: float) -> str:
    """At most three significant digits, never with an exponent: 0.0123, 1.2, 12,300."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    places = 2 - math.floor(math.log10(abs(value)))
    text = f"{round(value, places):,.{max(0, places)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
