"""The comparison of two runs over the same images: a function of the counts of `run_join`."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from hybrid_batch.data.errors import BadLabels, NotARun, WrongUsage
from hybrid_batch.data.log.records import STAGES
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.evaluation.comparison.run_join import OUTCOMES, SIDES, JoinCounts, Key, first_names
from hybrid_batch.evaluation.counting.counts import BYTE_COLUMNS
from hybrid_batch.evaluation.counting.encoding.latency_buckets import quantiles_us
from hybrid_batch.evaluation.report_schema import QUANTILES, Measure
from hybrid_batch.evaluation.statistics.intervals import UNKNOWN, paired_interval, wilson_interval
from hybrid_batch.evaluation.statistics.significance import holm_correction, mcnemar_exact_p, mcnemar_mid_p

COMPARISON_VERSION = 2


class ChangedImage(TypedDict):
    """An image and its predictions in both runs."""

    image: str
    a: str
    b: str


class ComparisonCoverage(TypedDict):
    """Numbers of images: in both runs, and in one run with the first of their names. All else is about images in both.

    `errors_a`, `errors_b`: not classified by that run. `classified`: by both runs. `labelled`: of these, with a label.
    `changed`: classified, with different predictions; the first of them by name.
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
    changed: int
    changed_images: list[ChangedImage]


class ComparisonSlice(TypedDict):
    """The images classified by both runs that have one value of a column, or all of them.

    `agreement` is the share of equal predictions. `difference` is the accuracy of B minus that of A, with Tango's
    score interval for pairs. `exact_p` and `mid_p` are McNemar's; `holm_p` is `mid_p` corrected for the number of
    values of the column, null overall. A measure that needs labels is null without them.
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
    """A quantity of A and of B, and B's divided by A's; the ratio is null when A's is 0."""

    a: float
    b: float
    ratio: float | None


class Comparison(TypedDict):
    """The result of `build_comparison`.

    `stages` has the mean and the quantiles of each stage, `cuts` the same for each cut that both runs have.
    `bad_parts` has sentences about the first of the parts that were left out.
    """

    comparison_version: int
    coverage: ComparisonCoverage
    overall: ComparisonSlice
    slices: dict[str, list[ComparisonSlice]]
    stages: dict[str, dict[str, Ratio]]
    cuts: dict[str, dict[str, dict[str, Ratio]]]
    bytes: dict[str, Ratio]
    notes: list[str]
    bad_parts: list[str]


def build_comparison(counts: JoinCounts, skip_unreadable: bool = False) -> Comparison:
    """The comparison of two runs from their counts.

    Raises NotARun for parts that are unreadable, unless `skip_unreadable`, and for images that occur twice in a run;
    BadLabels for images with different labels; WrongUsage for runs without a common image.
    """
    _check(counts, skip_unreadable)
    slices = _slices(counts)
    overall = slices.pop("", [_slice(None, [0] * len(OUTCOMES), 0, UNKNOWN, None)])[0] | {"holm_p": None}
    times = _times(counts)
    shared = sorted({cut for side, cut in times if side == "a"} & {cut for side, cut in times if side == "b"})
    overflows = sorted(str(key[1]) for key in counts if key[0] == "overflow")
    return Comparison(
        comparison_version=COMPARISON_VERSION,
        coverage=ComparisonCoverage(
            both=counts.get(("both",), 0),
            only_a=counts.get(("only", "a"), 0),
            only_b=counts.get(("only", "b"), 0),
            only_a_images=first_names(counts, "only a"),
            only_b_images=first_names(counts, "only b"),
            errors_a=counts.get(("error", "a"), 0),
            errors_b=counts.get(("error", "b"), 0),
            classified=overall["images"],
            labelled=overall["labelled"],
            changed=overall["images"] - counts.get(("agree", "", None), 0),
            changed_images=[_changed(name) for name in first_names(counts, "changed")],
        ),
        overall=overall,
        slices=slices,
        stages=_ratios(*(_sum([stages for (run, _), stages in times.items() if run == side]) for side in SIDES)),
        cuts={cut: _ratios(times["a", cut], times["b", cut]) for cut in shared},
        bytes={name: _ratio(*(counts.get(("bytes", side, name), 0) for side in SIDES)) for name in BYTE_COLUMNS},
        notes=[f"No slices by {column}: it has too many values." for column in overflows],
        bad_parts=first_names(counts, "bad part"),
    )


def _check(counts: JoinCounts, skip_unreadable: bool) -> None:
    bad_parts = first_names(counts, "bad part")
    if bad_parts and not skip_unreadable:
        number = counts["problems", "bad part"]
        more = f" ({number:,} parts cannot be compared.)" if number > 1 else ""
        raise NotARun(f"{bad_parts[0].rstrip('.')}, or leave it out with --skip-unreadable.{more}")
    for side in SIDES:
        if repeated := first_names(counts, f"twice in {side}"):
            number = counts["problems", f"twice in {side}"]
            raise NotARun(
                f"Run {side.upper()} has more than one record of {format_count(number, 'image')} "
                f"({_some(repeated, number)}), so the runs cannot be joined by image; compare runs "
                "with one record of each image."
            )
    if differing := first_names(counts, "label"):
        number = counts["problems", "label"]
        raise BadLabels(
            f"The runs have different labels for {format_count(number, 'image')} ({_some(differing, number)}); compare "
            "runs with the same labels."
        )
    if not counts.get(("both",)):
        in_a, in_b = (", ".join(first_names(counts, f"only {side}")[:1]) or "none" for side in SIDES)
        raise WrongUsage(f"The runs have no image in common (A: {in_a}, …; B: {in_b}, …); compare runs of one folder.")


def _some(names: Sequence[str], number: int) -> str:
    return ", ".join(names[:3]) + (", …" if number > 3 else "")


def _slices(counts: JoinCounts) -> dict[str, list[ComparisonSlice]]:
    """The slices of each column, by ascending value, null first."""
    outcomes: dict[str, dict[str | None, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0] * len(OUTCOMES)))
    for key, count in counts.items():
        if key[0] == "outcome":
            _, column, value, outcome = key
            text = None if value is None else str(value)
            outcomes[str(column)][text][OUTCOMES.index(str(outcome))] += count
    slices = {}
    for column, by_value in sorted(outcomes.items()):
        values = sorted(by_value, key=lambda value: (value is not None, value or ""))
        cells = [by_value[value] for value in values]
        p_values = [mcnemar_mid_p(cell[1], cell[2]) if sum(cell[:4]) else None for cell in cells]
        corrected = iter(holm_correction([p for p in p_values if p is not None]))
        slices[column] = [
            _slice(value, cell, counts["agree", column, value], difference, None if p is None else next(corrected))
            for value, cell, difference, p in zip(values, cells, _differences(cells), p_values, strict=True)
        ]
    return slices


def _slice(
    value: str | None, cells: list[int], agree: int, difference: Measure, holm_p: float | None
) -> ComparisonSlice:
    both, only_a, only_b, _, _ = cells
    labelled = sum(cells[:4])
    return ComparisonSlice(
        value=value,
        images=sum(cells),
        labelled=labelled,
        agreement=wilson_interval(agree, sum(cells)),
        accuracy_a=wilson_interval(both + only_a, labelled),
        accuracy_b=wilson_interval(both + only_b, labelled),
        difference=difference,
        only_a_right=only_a,
        only_b_right=only_b,
        exact_p=mcnemar_exact_p(only_a, only_b) if labelled else None,
        mid_p=mcnemar_mid_p(only_a, only_b) if labelled else None,
        holm_p=holm_p,
    )


def _differences(cells: list[list[int]]) -> list[Measure]:
    """The accuracy of B minus that of A for each slice, with its interval; unknown without labels."""
    counts = np.array(cells, np.int64)
    pairs = counts[:, : len(OUTCOMES) - 1].sum(1)
    labelled = np.flatnonzero(pairs)
    only_a, only_b = counts[labelled, 1], counts[labelled, 2]
    low, high = paired_interval(only_a, only_b, pairs[labelled])
    differences: list[Measure] = [UNKNOWN] * len(cells)
    columns = ((only_b - only_a) / pairs[labelled], low, high)
    for place, *ends in zip(labelled.tolist(), *(column.tolist() for column in columns), strict=True):
        differences[place] = Measure(value=ends[0], low=ends[1], high=ends[2])
    return differences


class _Times(TypedDict):
    sum_us: int
    histogram: dict[int, int]


_Stages = dict[str, _Times]


def _times(counts: JoinCounts) -> dict[tuple[str, str], _Stages]:
    """The times of each stage, by side and cut."""
    times: dict[tuple[str, str], _Stages] = defaultdict(
        lambda: {stage: _Times(sum_us=0, histogram={}) for stage in STAGES}
    )
    for key, count in counts.items():
        if key[0] in ("time", "latency"):
            stage = times[str(key[1]), str(key[2])][str(key[3])]
            if key[0] == "time":
                stage["sum_us"] = count
            else:
                stage["histogram"][_bucket(key)] = count
    return times


def _bucket(key: Key) -> int:
    return int(str(key[4]))


def _sum(parts: list[_Stages]) -> _Stages:
    total: _Stages = {stage: _Times(sum_us=0, histogram={}) for stage in STAGES}
    for stages in parts:
        for stage, times in stages.items():
            total[stage]["sum_us"] += times["sum_us"]
            for bucket, count in times["histogram"].items():
                total[stage]["histogram"][bucket] = total[stage]["histogram"].get(bucket, 0) + count
    return total


def _ratios(a: _Stages, b: _Stages) -> dict[str, dict[str, Ratio]]:
    """Mean and quantiles of each stage; empty when a side has no times."""
    names = ("mean_us", *QUANTILES)
    return {
        stage: {name: _ratio(*pair) for name, *pair in zip(names, _summary(a[stage]), _summary(b[stage]), strict=True)}
        for stage in STAGES
        if a[stage]["histogram"] and b[stage]["histogram"]
    }


def _summary(times: _Times) -> list[float]:
    """Mean and quantiles, in the order of `_ratios`."""
    items = sorted(times["histogram"].items())
    buckets, counts = np.array(items, np.int64).T
    return [times["sum_us"] / int(counts.sum()), *quantiles_us(buckets, counts, QUANTILES.values())]


def _ratio(a: float, b: float) -> Ratio:
    return Ratio(a=a, b=b, ratio=b / a if a else None)


def _changed(name: str) -> ChangedImage:
    image, a, b = name.split("\0", 2)
    return ChangedImage(image=image, a=a, b=b)
