"""`--split auto` against everything it chose from: `python -m bench plan [--quick]`.

For each model and link: all here, uploading the pictures, the best fixed split, and auto, all of them run, none
predicted. The oracle is the best of all candidates run. This machine's part and the tail have a core each.
"""

import statistics
from typing import Any

from bench.link import PROFILES, Conditions, check_link, open_link
from bench.results import report
from bench.stand import QUICK, SECONDS, Stand, route_of, stands, worth_running
from inference.planner.plan import Wishes, make_plan

_MODELS = ("MobileNetV2", "EfficientNetB0", "ResNet50")
_QUICK_LINKS = (Conditions(1.1, 50), Conditions(18.88, 50), Conditions(100, 5))


def main() -> None:
    """Measure and report."""
    rows: list[dict[str, Any]] = []
    with stands(*(_MODELS[:1] if QUICK else _MODELS)) as each:
        for stand in each:
            rows += [_row(stand, conditions) for conditions in (_QUICK_LINKS if QUICK else PROFILES)]
    report("plan", rows)
    regrets = sorted(row["regret"] for row in rows)
    late = regrets[min(len(regrets) - 1, round(0.95 * len(regrets)))]
    print(f"{len(rows)} conditions: median regret {statistics.median(regrets):.1%}, 95th percentile {late:.1%}")


def _row(stand: Stand, conditions: Conditions) -> dict[str, Any]:
    kept = check_link(conditions).up_mbit / conditions.rate_mbit
    with (
        open_link("127.0.0.1", stand.server.port, (0, conditions)) as link,
        stand.tail(link.port) as tail,
    ):
        profile = stand.profile(tail)
        plan = make_plan(stand.bundle, profile, Wishes())
        measured = {one.name: stand.fixed(route_of(one), tail).rate() for one in worth_running(plan)}
        followed, last = stand.auto(profile, tail, 3 * SECONDS)
    cuts = {name: rate for name, rate in measured.items() if name.startswith(("c", "f"))}
    # JPEG of the model's size changes predictions; auto may not choose it, so the oracle may not either.
    oracle = max(rate for name, rate in measured.items() if not name.startswith("upload jpeg"))
    auto = followed.rate()
    return {
        "model": stand.bundle.name,
        "Mbit/s": conditions.rate_mbit,
        "kept": f"{kept:.0%}",
        "rtt ms": conditions.rtt_ms,
        "all local": measured["all local"],
        "upload": measured["upload"],
        "jpeg90": measured["upload jpeg90"],
        "jpeg75": measured["upload jpeg75"],
        "best split": max(cuts.values(), default=0.0),
        "at": max(cuts, key=lambda name: cuts[name], default="-").partition(" ")[0],
        "auto": auto,
        "told": plan.chosen.shared_rate,
        "plan": f"{last.chosen.name.partition(' ')[0]} x{last.chosen.batch}",
        "sent": f"{followed.sent:.0%}",
        "oracle": oracle,
        "regret": max(0.0, 1 - auto / oracle),
    }


if __name__ == "__main__":
    main()
