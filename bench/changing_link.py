"""What becomes of a run whose link or tail changes: `python -m bench changes [--quick]`."""

import random

from bench.link import Conditions, Link, open_link
from bench.results import report
from bench.testbed import QUICK, SECONDS, Testbed, route_of, testbeds, worth_running
from hybrid_batch.inference.planner.plan.plan import PlanRequest, make_plan

_FAST, _SLOW = Conditions(18.88, 50), Conditions(1.1, 50)
_STEP_S = 6.0 if QUICK else 10.0
_JITTER_S = 12.0 if QUICK else 60.0
_Row = tuple[str, str, str]


def main() -> None:
    """Measure and report."""
    with testbeds("MobileNetV2") as each:
        for stand in each:
            rows = [_sharing(stand), *_rate_step(stand), _jitter(stand), *_killed(stand)]
    report("changes", [{"what": what, "measured": measured, "aim": aim} for what, measured, aim in rows])


def _best(stand: Testbed, port: int) -> tuple[float, float]:
    """Images/s of the best single policy, and of auto, while nothing changes."""
    with stand.tail(port) as tail:
        profile = stand.profile(tail)
        plan = make_plan(stand.bundle, profile, PlanRequest())
        single = max(stand.fixed(route_of(one), tail).rate() for one in worth_running(plan))
        return single, stand.auto(profile, tail, 4 * SECONDS)[0].rate()


def _sharing(stand: Testbed) -> _Row:
    with open_link("127.0.0.1", stand.server.port, (0, Conditions(100, 5))) as link:
        single, auto = _best(stand, link.port)
    return "sharing over the best single policy", f"{auto / single:.2f} ({auto:.0f} / {single:.0f} images/s)", ">= 1.4"


def _rate_step(stand: Testbed) -> list[_Row]:
    steady = {}
    for conditions in (_SLOW, _FAST):
        with open_link("127.0.0.1", stand.server.port, (0, conditions)) as link:
            steady[conditions] = max(_best(stand, link.port))
    with open_link("127.0.0.1", stand.server.port, (0, _FAST)) as link, stand.tail(link.port) as tail:
        moments = [(_STEP_S, lambda: _change(link, _SLOW)), (2 * _STEP_S, lambda: _change(link, _FAST))]
        timed, _ = stand.auto(stand.profile(tail), tail, 3 * _STEP_S, moments)
    rows = []
    for name, conditions, start in (("down", _SLOW, _STEP_S), ("up", _FAST, 2 * _STEP_S)):
        first = next((at - start for at, _ in timed.said if start < at < start + _STEP_S), None)
        told = f"{first:.1f} s" if first is not None else "none needed"
        rate = timed.rate(start + 5, start + _STEP_S) / steady[conditions]
        rows.append((f"{name} to {conditions.rate_mbit} Mbit/s: new plan after", told, "<= 2 s"))
        rows.append((f"{name}: images/s after 5 s over the steady best", f"{rate:.2f}", ">= 0.85"))
    return rows


def _change(link: Link, conditions: Conditions) -> None:
    link.change((0, conditions))


def _jitter(stand: Testbed) -> _Row:
    chance = random.Random(0)
    steps = range(int(2 * _JITTER_S) + 60)
    schedule = [(step / 2, Conditions(18.88 * chance.uniform(0.85, 1.15), 20)) for step in steps]
    with open_link("127.0.0.1", stand.server.port, *schedule) as link, stand.tail(link.port) as tail:
        timed, _ = stand.auto(stand.profile(tail), tail, _JITTER_S)
    return f"switches in {_JITTER_S:.0f} s of 15 % jitter", str(timed.switches), "<= 1 in 30 s"


def _killed(stand: Testbed) -> list[_Row]:
    server = stand.server
    with open_link("127.0.0.1", server.port, (0, Conditions(18.88, 20))) as link, stand.tail(link.port) as tail:
        profile = stand.profile(tail)
        local = worth_running(make_plan(stand.bundle, profile, PlanRequest()))[0]
        alone = stand.fixed(route_of(local), tail, 4.0).rate()
        timed, _ = stand.auto(profile, tail, 18.0, [(3.0, server.kill), (8.0, server.start)])
    up = server.started - timed.began
    back = next((at for at, _, sent in timed.seen if sent and at > up), float("nan")) - up
    return [
        ("tail killed: images/s over all local's", f"{timed.rate(4.0, 8.0) / alone:.2f}", ">= 0.95"),
        ("tail restarted: its first answer after", f"{back:.1f} s", "<= 10 s"),
    ]


if __name__ == "__main__":
    main()
