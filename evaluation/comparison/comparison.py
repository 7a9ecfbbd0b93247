"""What two runs over the same images say of each other: a function of the bag that `pairing` counts."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from hybrid_batch.data.errors import BadLabels, NotARun, WrongUsage
from hybrid_batch.data.log.records import STAGES
from hybrid_batch.evaluation.comparison.run_join import OUTCOMES, SIDES, Bag, Key, names
from hybrid_batch.evaluation.counting.counts import BYTES
from hybrid_batch.evaluation.counting.fixed_point import Reals
from hybrid_batch.evaluation.counting.latency import quantiles_us
from hybrid_batch.evaluation.report_schema import QUANTILES, Measure
from hybrid_batch.evaluation.statistics.holm import holm
from hybrid_batch.evaluation.statistics.intervals import UNKNOWN, bootstrap, wilson
from hybrid_batch.evaluation.statistics.mcnemar import exact_p, mid_p

COMPARISON_VERSION = 1


class Coverage(TypedDict):
    """Images in both runs or in one alone, with the first names of these; what follows is of the images in both.

    `errors_a`, `errors_b`: not classified by this run. `classified`: by both runs. `labelled`: these with a label.
    """

    both: int
    only_a: int
    only_b: int
    only_a_images: list[str]
    only_b_images: list[str]
    errors_a: int
    errors_b: int
    classified: int
    labelled: int


class Slice(TypedDict):
    """The images classified by both runs that share a value of a column, or all.

    `agreement` is the share of equal predictions. `difference` is the accuracy of B less that of A, its interval by
    bootstrap of the pairs. `exact_p` and `mid_p` are McNemar's; `holm_p` is `mid_p` corrected for the many values of
    the column, null overall. What needs labels is null without them.
    """

    value: str | None
    images: int
    labelled: int
    agreement: Measure
    accuracy_a: Measure
    accuracy_b: Measure
    difference: Measure
    only_a_right: int
    only_b_right: int
    exact_p: float | None
    mid_p: float | None
    holm_p: float | None


class Ratio(TypedDict):
    """A quantity of either run, and B's over A's; that is null when A's is 0."""

    a: float
    b: float
    ratio: float | None


class Comparison(TypedDict):
    """What `build` gives. `stages` has mean and quantiles by stage; `cuts` the same of the cuts both runs have.

    `bad_parts` are sentences on the first of the parts that were left out.
    """

    comparison_version: int
    coverage: Coverage
    overall: Slice
    slices: dict[str, list[Slice]]
    stages: dict[str, dict[str, Ratio]]
    cuts: dict[str, dict[str, dict[str, Ratio]]]
    bytes: dict[str, Ratio]
    notes: list[str]
    bad_parts: list[str]


def build(bag: Bag, skip_bad: bool = False) -> Comparison:
    """The comparison. Raises NotARun for parts that cannot be read, unless `skip_bad`, and images that are twice in a
    run, BadLabels for images with different labels, WrongUsage for runs without an image in common."""
    _check(bag, skip_bad)
    slices = _slices(bag)
    overall = slices.pop("", [_slice(None, [0] * len(OUTCOMES), 0, UNKNOWN, None)])[0] | {"holm_p": None}
    times = _times(bag)
    shared = sorted({cut for side, cut in times if side == "a"} & {cut for side, cut in times if side == "b"})
    overflows = sorted(str(key[1]) for key in bag if key[0] == "overflow")
    return Comparison(
        comparison_version=COMPARISON_VERSION,
        coverage=Coverage(
            both=bag.get(("both",), 0),
            only_a=bag.get(("only", "a"), 0),
            only_b=bag.get(("only", "b"), 0),
            only_a_images=names(bag, "only a"),
            only_b_images=names(bag, "only b"),
            errors_a=bag.get(("error", "a"), 0),
            errors_b=bag.get(("error", "b"), 0),
            classified=overall["images"],
            labelled=overall["labelled"],
        ),
        overall=overall,
        slices=slices,
        stages=_ratios(*(_sum([stages for (of, _), stages in times.items() if of == side]) for side in SIDES)),
        cuts={cut: _ratios(times["a", cut], times["b", cut]) for cut in shared},
        bytes={name: _ratio(*(bag.get(("bytes", side, name), 0) for side in SIDES)) for name in BYTES},
        notes=[f"There are no slices by {column}: it has too many values." for column in overflows],
        bad_parts=names(bag, "bad part"),
    )


def to_json(comparison: Comparison) -> str:
    """Canonical JSON on one line."""
    return json.dumps(comparison, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _check(bag: Bag, skip_bad: bool) -> None:
    bad = names(bag, "bad part")
    if bad and not skip_bad:
        count = bag["found", "bad part"]
        more = f" ({count:,} parts cannot be compared.)" if count > 1 else ""
        raise NotARun(f"{bad[0].rstrip('.')}, or leave it out with --skip-bad.{more}")
    for side in SIDES:
        if twice := names(bag, f"twice in {side}"):
            count = bag["found", f"twice in {side}"]
            raise NotARun(
                f"Run {side.upper()} has more than one record of {count:,} images ({_some(twice, count)}), so they"
                " cannot be joined by image; compare runs that have one of each."
            )
    if differ := names(bag, "label"):
        count = bag["found", "label"]
        raise BadLabels(
            f"The runs have different labels for {count:,} images ({_some(differ, count)}); compare runs made with the"
            " same labels."
        )
    if not bag.get(("both",)):
        of_a, of_b = (", ".join(names(bag, f"only {side}")[:1]) or "none" for side in SIDES)
        raise WrongUsage(f"The runs have no image in common (A: {of_a}, …; B: {of_b}, …); compare runs of one folder.")


def _some(found: Sequence[str], count: int) -> str:
    return ", ".join(found[:3]) + (", …" if count > 3 else "")


def _slices(bag: Bag) -> dict[str, list[Slice]]:
    """By column, the slices in the order of their values."""
    outcomes: dict[str, dict[str | None, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0] * len(OUTCOMES)))
    for key, count in bag.items():
        if key[0] == "outcome":
            _, column, value, outcome = key
            word = None if value is None else str(value)
            outcomes[str(column)][word][OUTCOMES.index(str(outcome))] += count
    found = {}
    for column, by_value in sorted(outcomes.items()):
        values = sorted(by_value, key=lambda value: (value is not None, value or ""))
        cells = [by_value[value] for value in values]
        p_values = [
            mid_p(only_a, only_b) if sum(cell[:4]) else None for cell in cells for _, only_a, only_b, *_ in [cell]
        ]
        corrected = iter(holm([p for p in p_values if p is not None]))
        found[column] = [
            _slice(value, cell, bag["agree", column, value], difference, None if p is None else next(corrected))
            for value, cell, difference, p in zip(values, cells, _differences(cells), p_values, strict=True)
        ]
    return found


def _slice(value: str | None, cells: list[int], agree: int, difference: Measure, holm_p: float | None) -> Slice:
    both, only_a, only_b, _, _ = cells
    labelled = sum(cells[:4])
    return Slice(
        value=value,
        images=sum(cells),
        labelled=labelled,
        agreement=wilson(agree, sum(cells)),
        accuracy_a=wilson(both + only_a, labelled),
        accuracy_b=wilson(both + only_b, labelled),
        difference=difference,
        only_a_right=only_a,
        only_b_right=only_b,
        exact_p=exact_p(only_a, only_b) if labelled else None,
        mid_p=mid_p(only_a, only_b) if labelled else None,
        holm_p=holm_p,
    )


def _differences(cells: list[list[int]]) -> list[Measure]:
    """The accuracy of B less that of A for each slice, with the interval of resampled pairs."""
    counts = np.array([[both + neither, only_a, only_b] for both, only_a, only_b, neither, _ in cells], np.int64)

    def differences(
        draws: Reals,
    ) -> Reals:
        same, only_a, only_b = np.moveaxis(draws.reshape(len(draws), -1, 3), 2, 0)
        # A sample without images says nothing of a difference, hence 0.
        shares: Reals = (only_b - only_a) / np.maximum(1, same + only_a + only_b)
        return shares

    values = differences(counts.reshape(1, -1).astype(np.float64))[0]
    low, high = bootstrap(counts.reshape(-1), differences)
    return [
        Measure(value=value, low=min(value, least), high=max(value, most)) if total else UNKNOWN
        for value, least, most, total in zip(
            values.tolist(), low.tolist(), high.tolist(), counts.sum(axis=1).tolist(), strict=True
        )
    ]


class _Times(TypedDict):
    sum_us: int
    histogram: dict[int, int]


_Stages = dict[str, _Times]


def _times(bag: Bag) -> dict[tuple[str, str], _Stages]:
    """By side and cut, the times of each stage."""
    found: dict[tuple[str, str], _Stages] = defaultdict(
        lambda: {stage: _Times(sum_us=0, histogram={}) for stage in STAGES}
    )
    for key, count in bag.items():
        if key[0] in ("time", "latency"):
            stage = found[str(key[1]), str(key[2])][str(key[3])]
            if key[0] == "time":
                stage["sum_us"] = count
            else:
                stage["histogram"][_int(key)] = count
    return found


def _int(key: Key) -> int:
    return int(str(key[4]))


def _sum(parts: list[_Stages]) -> _Stages:
    total: _Stages = {stage: _Times(sum_us=0, histogram={}) for stage in STAGES}
    for stages in parts:
        for stage, times in stages.items():
            total[stage]["sum_us"] += times["sum_us"]
            for cell, count in times["histogram"].items():
                total[stage]["histogram"][cell] = total[stage]["histogram"].get(cell, 0) + count
    return total


def _ratios(a: _Stages, b: _Stages) -> dict[str, dict[str, Ratio]]:
    """Mean and quantiles of each stage; nothing when a side has no times."""
    names = ("mean_us", *QUANTILES)
    return {
        stage: {name: _ratio(*pair) for name, *pair in zip(names, _summary(a[stage]), _summary(b[stage]), strict=True)}
        for stage in STAGES
        if a[stage]["histogram"] and b[stage]["histogram"]
    }


def _summary(times: _Times) -> list[float]:
    """Mean and quantiles."""
    cells = sorted(times["histogram"].items())
    buckets, counts = np.array(cells, np.int64).T
    return [times["sum_us"] / int(counts.sum()), *quantiles_us(buckets, counts, QUANTILES.values())]


def _ratio(a: float, b: float) -> Ratio:
    return Ratio(a=a, b=b, ratio=b / a if a else None)
