"""Numbers for people."""

import math


def figure(value: float) -> str:
    """At most three significant digits, never with an exponent: 0.0123, 1.2, 12,300."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    places = 2 - math.floor(math.log10(abs(value)))
    text = f"{round(value, places):,.{max(0, places)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float) -> str:
    """Whole per cent; what is neither none nor all is never told as if it were."""
    return "<1%" if 0 < share < 0.005 else ">99%" if 0.995 <= share < 1 else f"{share:.0%}"
