"""`--split auto` against every candidate of its plan: `python -m bench plan [--quick]`.

For each model and link it runs all local, image upload, the best fixed split, and auto; nothing is predicted. The
oracle is the best candidate. The local part and the tail have one core each. Models with random weights measure the
speed; pretrained ones, with calibrated codecs, also the accuracy. Results are saved after each link, so an interrupted
run is useful.
"""

import statistics
from functools import cache
from typing import Any

from bench.accuracy import Accuracy
from bench.fixtures import SHARED_DATA
from bench.link import PROFILES, Conditions, check_link, open_link
from bench.pretrained import PRETRAINED
from bench.results import save, show
from bench.testbed import QUICK, SECONDS, RunTiming, Testbed, candidates_to_run, route_of, testbeds
from hybrid_batch.inference.planner.plan.accuracy_constraint import constrain, make_calibrator, nearby_links
from hybrid_batch.inference.planner.plan.candidates import Candidate
from hybrid_batch.inference.planner.plan.plan import make_plan
from hybrid_batch.inference.planner.profile.profile import Profile

_MODELS = ("MobileNetV2", "EfficientNetB0", "ResNet50")
_QUICK_LINKS = (Conditions(1.1, 50), Conditions(18.88, 50), Conditions(100, 5))
_SLOW_UPLOAD_S = 90  # a batch of 32 photographs over the slowest link
_FEW_LINKS = (Conditions(1.1, 50), Conditions(5.85, 50), Conditions(18.88, 50), Conditions(100, 5))


_checked = cache(check_link)


def main() -> None:
    """Measure, and print a table for each model."""
    names = _MODELS[:1] if QUICK else (*_MODELS, *(PRETRAINED if SHARED_DATA.is_dir() else ()))
    rows: list[dict[str, Any]] = []
    with testbeds(*names) as each:
        for testbed in each:
            accuracy = (
                Accuracy(testbed.bundle, testbed.runtime, testbed.labelled)
                if testbed.bundle.name in PRETRAINED
                else None
            )
            model_rows: list[dict[str, Any]] = []
            for conditions in _links(testbed):
                model_rows.append(_row(testbed, conditions, accuracy))
                save("plan", [*rows, *model_rows])
            rows += model_rows
            show(model_rows, 190)
    regrets = sorted(row["regret"] for row in rows)
    high_regret = regrets[min(len(regrets) - 1, round(0.95 * len(regrets)))]
    print(f"{len(rows)} conditions: median regret {statistics.median(regrets):.1%}, 95th percentile {high_regret:.1%}")


def _links(testbed: Testbed) -> tuple[Conditions, ...]:
    return _QUICK_LINKS if QUICK else _FEW_LINKS if testbed.bundle.name in PRETRAINED else PROFILES


def _row(testbed: Testbed, conditions: Conditions, accuracy: Accuracy | None) -> dict[str, Any]:
    kept = _checked(conditions).up_mbit / conditions.rate_mbit
    with (
        open_link("127.0.0.1", testbed.server.port, (0, conditions)) as link,
        testbed.tail(link.port) as tail,
        testbed.tail(link.port, _SLOW_UPLOAD_S) as slow_tail,
    ):
        profile = testbed.profile(tail)
        if accuracy is not None:
            _calibrate(testbed, profile)
        plan = make_plan(testbed.bundle, profile, testbed.request)
        run = {one.name: (one, testbed.run_fixed(route_of(one), slow_tail).rate()) for one in candidates_to_run(plan)}
        auto_timing, last_plan = testbed.run_auto(profile, tail, 3 * SECONDS)
    rates = {name: rate for name, (_, rate) in run.items()}
    cuts = {name: rate for name, rate in rates.items() if not name.startswith(("upload", "all"))}
    at = max(cuts, key=lambda name: cuts[name], default=None)
    # Auto cannot choose JPEG of the model's size because it changes predictions, so the oracle cannot either.
    oracle = max(rate for name, rate in rates.items() if not name.startswith("upload jpeg"))
    auto = auto_timing.rate()
    return {
        "model": testbed.bundle.name,
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
        "predicted": plan.chosen.shared_rate,
        "plan": f"{last_plan.chosen.name.partition(' ')[0]} x{last_plan.chosen.batch}",
        "sent": f"{auto_timing.remote_share:.0%}",
        "oracle": oracle,
        "regret": max(0.0, 1 - auto / oracle),
    } | (_accuracies(accuracy, {name: one for name, (one, _) in run.items()}, at, auto_timing) if accuracy else {})


def _calibrate(testbed: Testbed, profile: Profile) -> None:
    """Calibrate a model once, for links from 1/16 to 16 times the rate of the first; the measurements are cached."""
    assert profile.tail is not None  # noqa: S101 - a testbed has a tail
    calibrate = make_calibrator(testbed.bundle, testbed.runtime, testbed.labelled, None, lambda _: None)
    links = nearby_links(profile.tail.link)
    testbed.request = constrain(testbed.bundle, profile, testbed.request, links, calibrate)


def _accuracies(accuracy: Accuracy, run: dict[str, Candidate], at: str | None, timing: RunTiming) -> dict[str, str]:
    """Return the accuracy of all local (equal to that of upload), JPEG, the best split and auto."""
    auto = (
        sum(count * accuracy.of(split) for split, count in timing.images_by_split.items())
        / timing.images_by_split.total()
    )
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
