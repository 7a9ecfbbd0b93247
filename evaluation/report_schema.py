"""The schema of the report, version 3: the content of `report.json`, and the input of every page and table.

It depends on the counts alone, so it has no paths and no creation time. A value that is unknown or undefined
(the accuracy without labels, the precision of a class that was never predicted) is null, never 0.
"""

from typing import TypedDict

REPORT_VERSION = 3

# The parts of the latency in the order in which an image passes through them. Waits are before the stage of their name;
# `batch_wait` is the time in all stages beyond an image's own share of its batch.
LATENCY_PARTS = (
    *("decode", "batch_wait", "head_wait", "head", "encode_wait", "encode"),
    *("send_wait", "link", "queue", "tail"),
)
STAGE_NOTE = (
    "The time of a stage is that of a batch divided by its images, so percentiles of stages are of batch means; "
    "waits and latency are of images."
)

# The headline metrics in display order. Names and definitions are scikit-learn's; the precision of a class that was
# never predicted counts as 0 in averages. The last two evaluate only the confidence of the top label, as the
# probability that the prediction is correct, since a record has at most five of the scores.
HEADLINE = (
    "accuracy",
    "balanced_accuracy",
    "top5_accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "precision_weighted",
    "recall_weighted",
    "f1_weighted",
    "cohen_kappa",
    "matthews",
    "confidence_brier",
    "confidence_log_loss",
)
DEFAULT_SLICES = ("cut", "codec", "tail", "label", "prediction", "folder")  # of every report; the user can add others
QUANTILES = {"p50_us": 500, "p90_us": 900, "p95_us": 950, "p99_us": 990, "p999_us": 999}  # permille


class Measure(TypedDict):
    """A number and its 95 % interval; null where it is unknown."""

    value: float | None
    low: float | None
    high: float | None


class Coverage(TypedDict):
    """Numbers of records. A record is either an error (an error, or no prediction), unlabelled, or labelled."""

    records: int
    errors: int
    unlabelled: int
    labelled: int


class Confusion(TypedDict):
    """The cells above 0, by ascending (label, prediction): three lists of equal length.

    `label` and `prediction` are indices into `classes`, the sorted list of all labels and predictions of the
    labelled records.
    """

    classes: list[str]
    label: list[int]
    prediction: list[int]
    records: list[int]


class ClassRow(TypedDict):
    """One class, counted in the labelled records. A measure that would divide by 0 is null."""

    name: str
    support: int  # records with this label
    predicted: int  # records with this prediction
    correct: int  # records with this label and this prediction
    precision: Measure
    recall: Measure
    f1: Measure


class Bin(TypedDict):
    """The labelled records with a confidence in (low, high]; 0 is in the first bin."""

    low: float
    high: float
    records: int
    confidence: float | None  # mean
    accuracy: Measure


class Binning(TypedDict):
    """Confidence and accuracy in bins, by ascending confidence.

    `ece` is the mean over all records of |accuracy - confidence| of their bin. It is above 0 even for perfect
    confidences: for this number of records these have `ece_null` on average, and exceed `ece_null_p95` in 5 % of
    cases. It has no interval, because resampling itself increases the error.
    """

    ece: float | None
    ece_null: float | None
    ece_null_p95: float | None
    bins: list[Bin]


class Calibration(TypedDict):
    """The labelled records with a confidence, in 15 bins of equal width and in up to 15 bins of equal mass."""

    records: int
    equal_width: Binning
    equal_mass: Binning


class Histogram(TypedDict):
    """Records by time: eight bins per octave (at most 512), ascending, without empty bins.

    A bin is [low_us, high_us); the three lists have equal length.
    """

    low_us: list[float]
    high_us: list[float]
    records: list[int]


class StageLatency(TypedDict):
    """Microseconds of a stage. Mean, minimum and maximum are exact, quantiles within 0.39 %."""

    mean_us: float
    min_us: int
    max_us: int
    p50_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    p999_us: float
    histogram: Histogram | None  # only overall and by cut, codec and tail


class Slice(TypedDict):
    """The records with one value of a column, or all records. Bytes and times are those of classified records.

    `cut_bytes` are the requests at the cut, `sent_bytes` and `received_bytes` what a network carried: 0 where head and
    tail are in one process. The shares are of the image bytes.

    `stages` has all of `data.log.records.STAGES` overall and by cut, codec and tail, else only `latency`; it is empty
    without classified records. It has `data.log.records.WAITS` too where the log has them, from version 2 on.
    `accounted` is the sum of the means of `LATENCY_PARTS` divided by the mean latency, null unless all records have
    their waits.
    """

    value: str | None  # null: the column is null; overall: always null
    records: int
    errors: int
    unlabelled: int
    labelled: int
    accuracy: Measure
    top5_accuracy: Measure
    image_bytes: int
    cut_bytes: int
    sent_bytes: int
    received_bytes: int
    cut_share: float | None
    sent_share: float | None
    accounted: float | None
    stages: dict[str, StageLatency]


class Throughput(TypedDict):
    """Classified records per second of active time, which excludes pauses: no shard was in work."""

    active_s: float
    images_per_s: float | None


class RunRow(TypedDict):
    """The records of one run with one cut, codec and tail; names are null in a log of version 1, which lacks them.

    `labelled` and `correct` count classified records. Starts are ISO 8601 in UTC, null without classified records.
    """

    run_id: str | None
    model: str | None
    bundle: str | None
    cut: str | None
    codec: str | None
    tail: str | None
    records: int
    errors: int
    labelled: int
    correct: int
    first_started_at: str | None
    last_started_at: str | None


class Failure(TypedDict):
    """An image that could not be classified; `error` is null for a record without an error and a prediction."""

    image: str
    error: str | None


class Confidences(TypedDict):
    """The confidences of all classified records, labelled or not: the number of records in each bin [low, high).

    The last bin has 1 too. `records` is the number of records with a confidence in [0, 1].
    """

    records: int
    mean: float | None
    low: list[float]
    high: list[float]
    counts: list[int]


class ConfidentError(TypedDict):
    """A wrong prediction with a high confidence."""

    image: str
    label: str
    prediction: str
    confidence: float


class Report(TypedDict):
    """The result of `build_report`.

    `slices` are by column, ordered by value; a column with too many values has an empty list and a note.
    `runs` are by run, cut, codec and tail. `exemplars` are the most confident errors, by descending confidence;
    `failures` the first images without a prediction, by name. `notes` are sentences for the reader,
    `bad_parts` has one sentence for each part that could not be counted. `intervals` has the methods of the
    intervals, as sentences.
    """

    report_version: int
    coverage: Coverage
    headline: dict[str, Measure]
    intervals: str
    confusion: Confusion
    per_class: list[ClassRow]
    calibration: Calibration
    confidence: Confidences
    runs: list[RunRow]
    failures: list[Failure]
    overall: Slice
    slices: dict[str, list[Slice]]
    throughput: Throughput
    exemplars: list[ConfidentError]
    notes: list[str]
    bad_parts: list[str]
