"""What is computed from counts alone: coverage, the confusion matrix, accuracy, the latency of each cut."""

from collections import defaultdict
from typing import TypedDict

from data.records import STAGES
from evaluation.counts import BYTES, Counts
from evaluation.latency import quantile_us

Confusion = dict[str, dict[str, int]]


class Coverage(TypedDict):
    """How many records there are, and how many of them the accuracy is about."""

    records: int
    errors: int
    unlabelled: int
    labelled: int


class Stage(TypedDict):
    """Microseconds of one stage of a cut; the mean is exact, each quantile within 0.39 % (see `latency`)."""

    mean_us: float
    p50_us: float
    p95_us: float
    p99_us: float


class Cut(TypedDict):
    """The classified records of one cut: how many, their bytes, their times by stage."""

    records: int
    image_bytes: int
    sent_bytes: int
    received_bytes: int
    sent_share: float | None
    stages: dict[str, Stage]


def coverage(counts: Counts) -> Coverage:
    """Every record is one of: an error, classified without a label, classified with one."""
    errors, unlabelled = counts.get(("errors",), 0), counts.get(("unlabelled",), 0)
    labelled = sum(n for key, n in counts.items() if key[0] == "confusion")
    return Coverage(records=errors + unlabelled + labelled, errors=errors, unlabelled=unlabelled, labelled=labelled)


def confusion(counts: Counts) -> Confusion:
    """{label: {prediction: count}} of the pairs that occur."""
    matrix: Confusion = defaultdict(dict)
    for key, n in counts.items():
        if key[0] == "confusion":
            _, label, prediction = key
            matrix[str(label)][str(prediction)] = n
    return dict(matrix)


def accuracy(matrix: Confusion) -> float | None:
    """The share of the labelled records whose prediction is the label; None when there are none."""
    total = sum(sum(row.values()) for row in matrix.values())
    return sum(row.get(label, 0) for label, row in matrix.items()) / total if total else None


def cuts(counts: Counts) -> dict[str, Cut]:
    """The measurements of each cut, by its id. `sent_share` is sent bytes over image bytes."""
    histograms: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for key, n in counts.items():
        if key[0] == "latency":
            _, cut, stage, bucket = key
            histograms[str(cut), str(stage)][int(bucket)] = n
    return {
        str(key[1]): _cut(counts, str(key[1]), records, histograms) for key, records in counts.items() if key[0] == "n"
    }


def _cut(counts: Counts, cut: str, records: int, histograms: dict[tuple[str, str], dict[int, int]]) -> Cut:
    image, sent, received = (counts["sum", cut, column] for column in BYTES)
    return Cut(
        records=records,
        image_bytes=image,
        sent_bytes=sent,
        received_bytes=received,
        sent_share=sent / image if image else None,
        stages={stage: _stage(counts["sum", cut, f"{stage}_us"] / records, histograms[cut, stage]) for stage in STAGES},
    )


def _stage(mean_us: float, histogram: dict[int, int]) -> Stage:
    return Stage(
        mean_us=mean_us,
        p50_us=quantile_us(histogram, 500),
        p95_us=quantile_us(histogram, 950),
        p99_us=quantile_us(histogram, 990),
    )
