"""A run while its link or tail changes: `python -m bench changing_link [--quick]`."""

import random

from bench.link import Conditions, Link, open_link
from bench.results import report
from bench.testbed import QUICK, SECONDS, Testbed, candidates_to_run, route_of, testbeds
from hybrid_batch.inference.planner.plan.plan import PlanRequest, make_plan

_FAST, _SLOW = Conditions(18.88, 50), Conditions(1.1, 50)
_STEP_S = 6.0 if QUICK else 10.0
_JITTER_S = 12.0 if QUICK else 60.0
_Row = tuple[str, str, str]


def main() -> None:
    """Measure and report."""
    with testbeds("MobileNetV2") as each:
        for testbed in each:
            rows = [_sharing(testbed), *_rate_step(testbed), _jitter(testbed), *_killed(testbed)]
    report("changing_link", [{"what": what, "measured": measured, "aim": aim} for what, measured, aim in rows])


def _best(testbed: Testbed, port: int) -> tuple[float, float]:
    """Return the images/s of the best fixed split, and of auto, on a constant link."""
    with testbed.tail(port) as tail:
        profile = testbed.profile(tail)
        plan = make_plan(testbed.bundle, profile, PlanRequest())
        single = max(testbed.run_fixed(route_of(one), tail).rate() for one in candidates_to_run(plan))
        return single, testbed.run_auto(profile, tail, 4 * SECONDS)[0].rate()


def _sharing(testbed: Testbed) -> _Row:
    with open_link("127.0.0.1", testbed.server.port, (0, Conditions(100, 5))) as link:
        single, auto = _best(testbed, link.port)
    return (
        "shared work over the best fixed split",
        f"{auto / single:.2f} ({auto:.0f} / {single:.0f} images/s)",
        ">= 1.4",
    )


def _rate_step(testbed: Testbed) -> list[_Row]:
    steady = {}
    for conditions in (_SLOW, _FAST):
        with open_link("127.0.0.1", testbed.server.port, (0, conditions)) as link:
            steady[conditions] = max(_best(testbed, link.port))
    with open_link("127.0.0.1", testbed.server.port, (0, _FAST)) as link, testbed.tail(link.port) as tail:
        events = [(_STEP_S, lambda: _change(link, _SLOW)), (2 * _STEP_S, lambda: _change(link, _FAST))]
        timing, _ = testbed.run_auto(testbed.profile(tail), tail, 3 * _STEP_S, events)
    rows = []
    for name, conditions, start in (("down", _SLOW, _STEP_S), ("up", _FAST, 2 * _STEP_S)):
        first = next((at - start for at, _ in timing.messages if start < at < start + _STEP_S), None)
        delay = f"{first:.1f} s" if first is not None else "none needed"
        rate = timing.rate(start + 5, start + _STEP_S) / steady[conditions]
        rows.append((f"{name} to {conditions.rate_mbit} Mbit/s: new plan after", delay, "<= 2 s"))
        rows.append((f"{name}: images/s after 5 s over the steady best", f"{rate:.2f}", ">= 0.85"))
    return rows


def _change(link: Link, conditions: Conditions) -> None:
    link.change((0, conditions))


def _jitter(testbed: Testbed) -> _Row:
    generator = random.Random(0)
    steps = range(int(2 * _JITTER_S) + 60)
    schedule = [(step / 2, Conditions(18.88 * generator.uniform(0.85, 1.15), 20)) for step in steps]
    with open_link("127.0.0.1", testbed.server.port, *schedule) as link, testbed.tail(link.port) as tail:
        timing, _ = testbed.run_auto(testbed.profile(tail), tail, _JITTER_S)
    return f"switches in {_JITTER_S:.0f} s of 15 % jitter", str(timing.switches), "<= 1 in 30 s"


def _killed(testbed: Testbed) -> list[_Row]:
    server = testbed.server
    with open_link("127.0.0.1", server.port, (0, Conditions(18.88, 20))) as link, testbed.tail(link.port) as tail:
        profile = testbed.profile(tail)
        local = candidates_to_run(make_plan(testbed.bundle, profile, PlanRequest()))[0]
        alone = testbed.run_fixed(route_of(local), tail, 4.0).rate()
        timing, _ = testbed.run_auto(profile, tail, 18.0, [(3.0, server.kill), (8.0, server.start)])
    up = server.started - timing.began
    back = next((at for at, _, sent in timing.batches if sent and at > up), float("nan")) - up
    return [
        ("tail killed: images/s over all local", f"{timing.rate(4.0, 8.0) / alone:.2f}", ">= 0.95"),
        ("tail restarted: first response after", f"{back:.1f} s", "<= 10 s"),
    ]


if __name__ == "__main__":
    main()
