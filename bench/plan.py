"""`--split auto` against everything it chose from: `python -m bench plan [--quick]`.

For each model and link: all here, uploading the pictures, the best fixed split, and auto, all of them run, none
predicted. The oracle is the best of all candidates run. This machine's part and the tail have a core each. Models with
random weights tell the speed; published ones, with their codecs calibrated, the accuracy too. Results are saved after
each link, so that a run that was cut short is of use.
"""

import statistics
from functools import cache
from typing import Any

from bench.accuracy import Accuracy
from bench.link import PROFILES, Conditions, check_link, open_link
from bench.pretrained import PUBLISHED
from bench.results import save, show
from bench.testbed import QUICK, SECONDS, Testbed, RunTiming, route_of, testbeds, worth_running
from bench.fixtures import SHARED
from hybrid_batch.inference.planner.plan.accuracy_constraint import constrain, make_calibrator, nearby_links
from hybrid_batch.inference.planner.plan.candidates import Candidate
from hybrid_batch.inference.planner.plan.plan import make_plan
from hybrid_batch.inference.planner.profile.profile import Profile

_MODELS = ("MobileNetV2", "EfficientNetB0", "ResNet50")
_QUICK_LINKS = (Conditions(1.1, 50), Conditions(18.88, 50), Conditions(100, 5))
_LONG_S = 90  # 32 photographs at once over the slowest link
_FEW_LINKS = (Conditions(1.1, 50), Conditions(5.85, 50), Conditions(18.88, 50), Conditions(100, 5))


_checked = cache(check_link)


def main() -> None:
    """Measure and report, a table for each model."""
    names = _MODELS[:1] if QUICK else (*_MODELS, *(PUBLISHED if SHARED.is_dir() else ()))
    rows: list[dict[str, Any]] = []
    with testbeds(*names) as each:
        for stand in each:
            accuracy = Accuracy(stand.bundle, stand.engine, stand.labelled) if stand.bundle.name in PUBLISHED else None
            mine: list[dict[str, Any]] = []
            for conditions in _links(stand):
                mine.append(_row(stand, conditions, accuracy))
                save("plan", [*rows, *mine])
            rows += mine
            show(mine, 190)
    regrets = sorted(row["regret"] for row in rows)
    late = regrets[min(len(regrets) - 1, round(0.95 * len(regrets)))]
    print(f"{len(rows)} conditions: median regret {statistics.median(regrets):.1%}, 95th percentile {late:.1%}")


def _links(stand: Testbed) -> tuple[Conditions, ...]:
    return _QUICK_LINKS if QUICK else _FEW_LINKS if stand.bundle.name in PUBLISHED else PROFILES


def _row(stand: Testbed, conditions: Conditions, accuracy: Accuracy | None) -> dict[str, Any]:
    kept = _checked(conditions).up_mbit / conditions.rate_mbit
    with (
        open_link("127.0.0.1", stand.server.port, (0, conditions)) as link,
        stand.tail(link.port) as tail,
        stand.tail(link.port, _LONG_S) as patient,
    ):
        profile = stand.profile(tail)
        if accuracy is not None:
            _calibrate(stand, profile)
        plan = make_plan(stand.bundle, profile, stand.wishes)
        run = {one.name: (one, stand.fixed(route_of(one), patient).rate()) for one in worth_running(plan)}
        followed, last = stand.auto(profile, tail, 3 * SECONDS)
    rates = {name: rate for name, (_, rate) in run.items()}
    cuts = {name: rate for name, rate in rates.items() if not name.startswith(("upload", "all"))}
    at = max(cuts, key=lambda name: cuts[name], default=None)
    # JPEG of the model's size changes predictions; auto may not choose it, so the oracle may not either.
    oracle = max(rate for name, rate in rates.items() if not name.startswith("upload jpeg"))
    auto = followed.rate()
    return {
        "model": stand.bundle.name,
        "Mbit/s": conditions.rate_mbit,
        "kept": f"{kept:.0%}",
        "rtt ms": conditions.rtt_ms,
        "all local": rates["all local"],
        "upload": rates["upload"],
        "jpeg90": rates["upload jpeg90"],
        "jpeg75": rates["upload jpeg75"],
        "best split": cuts[at] if at else 0.0,
        "at": at.partition(" ")[0] if at else "-",
        "auto": auto,
        "told": plan.chosen.shared_rate,
        "plan": f"{last.chosen.name.partition(' ')[0]} x{last.chosen.batch}",
        "sent": f"{followed.sent:.0%}",
        "oracle": oracle,
        "regret": max(0.0, 1 - auto / oracle),
    } | (_accuracies(accuracy, {name: one for name, (one, _) in run.items()}, at, followed) if accuracy else {})


def _calibrate(stand: Testbed, profile: Profile) -> None:
    """Once a model, for links from a sixteenth to sixteen times the first: what was measured is kept."""
    assert profile.tail is not None  # noqa: S101 - the stand has one
    calibrate = make_calibrator(stand.bundle, stand.engine, stand.labelled, None, lambda _: None)
    links = nearby_links(profile.tail.link)
    stand.wishes = constrain(stand.bundle, profile, stand.wishes, links, calibrate)


def _accuracies(accuracy: Accuracy, run: dict[str, Candidate], at: str | None, followed: RunTiming) -> dict[str, str]:
    """Of all local (upload is the same), JPEG, the best split, and what auto did."""
    auto = sum(count * accuracy.of(split) for split, count in followed.ways.items()) / followed.ways.total()
    found = {
        "acc": accuracy.of(run["all local"].split),
        "acc jpeg90": accuracy.of(run["upload jpeg90"].split),
        "acc jpeg75": accuracy.of(run["upload jpeg75"].split),
        "acc split": accuracy.of(run[at].split) if at else float("nan"),
        "acc auto": auto,
    }
    return {name: f"{share:.3f}" for name, share in found.items()}


if __name__ == "__main__":
    main()
