"""The shape of the report, version 2: what `report.json` holds and every page and table is drawn from.

It holds nothing but what the counts hold: no paths of runs, no time of making. Whatever is unknown or has no
meaning (the accuracy of no labels, the precision of a class never predicted) is null, never 0.
"""

from typing import TypedDict

REPORT_VERSION = 2

# The headline metrics in the order in which they are shown. Names and definitions are scikit-learn's, classes
# never predicted counting 0 in the averages; the last two judge the confidence in the top label alone, as a
# probability that the prediction is right, since a record has no more than five of the scores.
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
SLICED_BY = ("cut", "codec", "tail", "label", "prediction", "folder")  # always; others are asked for
QUANTILES = {"p50_us": 500, "p90_us": 900, "p95_us": 950, "p99_us": 990, "p999_us": 999}  # permille


class Measure(TypedDict):
    """A number and its 95 % interval; null where it is not known."""

    value: float | None
    low: float | None
    high: float | None


class Coverage(TypedDict):
    """How many records there are; each is one of errors (an error, or no prediction), unlabelled, labelled."""

    records: int
    errors: int
    unlabelled: int
    labelled: int


class Confusion(TypedDict):
    """The cells that are not 0, by ascending (label, prediction): three lists of equal length.

    `label` and `prediction` are positions in `classes`, which is sorted and holds every label and prediction
    of the labelled records.
    """

    classes: list[str]
    label: list[int]
    prediction: list[int]
    records: list[int]


class ClassRow(TypedDict):
    """One class among the labelled records. The measures are null where they would divide by 0."""

    name: str
    support: int  # records with this label
    predicted: int  # records with this prediction
    correct: int  # records with both
    precision: Measure
    recall: Measure
    f1: Measure


class Bin(TypedDict):
    """The labelled records whose confidence is in (low, high]; 0 belongs to the first bin."""

    low: float
    high: float
    records: int
    confidence: float | None  # mean
    accuracy: Measure


class Binning(TypedDict):
    """Confidence against accuracy in bins, by ascending confidence.

    `ece` is the mean over the records of |accuracy - confidence| of their bin. It is above 0 even of perfect
    confidences: `ece_null` is what those would show on average on as many records, `ece_null_p95` what they
    would exceed once in twenty times. There is no interval: resampling adds to what it should measure.
    """

    ece: float | None
    ece_null: float | None
    ece_null_p95: float | None
    bins: list[Bin]


class Calibration(TypedDict):
    """The labelled records that have a confidence, in 15 bins of equal width and in up to 15 of equal mass."""

    records: int
    equal_width: Binning
    equal_mass: Binning


class Histogram(TypedDict):
    """Records by time: eight bins to the octave (so at most 512), ascending, without the empty ones.

    `[low_us, high_us)` bounds a bin; the three lists have equal length.
    """

    low_us: list[float]
    high_us: list[float]
    records: list[int]


class Stage(TypedDict):
    """Microseconds of a stage. Mean, smallest and largest are exact, each quantile within 0.39 %."""

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
    """The records that share a value of a column, or all. Bytes and times are of the classified ones.

    `stages` has the stages of `data.records.STAGES` overall and by cut, codec and tail, else `latency` alone;
    it is empty when nothing was classified. `sent_share` is sent bytes over image bytes.
    """

    value: str | None  # null: the column is null; overall always
    records: int
    errors: int
    unlabelled: int
    labelled: int
    accuracy: Measure
    top5_accuracy: Measure
    image_bytes: int
    sent_bytes: int
    received_bytes: int
    sent_share: float | None
    stages: dict[str, Stage]


class Throughput(TypedDict):
    """Classified records over the time in which they were made; pauses of whole minutes are no such time."""

    active_s: float
    images_per_s: float | None


class Exemplar(TypedDict):
    """A wrong prediction made with high confidence."""

    image: str
    label: str
    prediction: str
    confidence: float


class Report(TypedDict):
    """What `report.build` gives and `report.to_json` writes.

    `slices` is by column, ordered by value; a column with too many values has no slices but a note.
    `exemplars` are by falling confidence. `notes` are sentences for the reader, `bad_parts` a sentence for each
    part that could not be counted. `intervals` says how those that are not Wilson's were made.
    """

    report_version: int
    coverage: Coverage
    headline: dict[str, Measure]
    intervals: str
    confusion: Confusion
    per_class: list[ClassRow]
    calibration: Calibration
    overall: Slice
    slices: dict[str, list[Slice]]
    throughput: Throughput
    exemplars: list[Exemplar]
    notes: list[str]
    bad_parts: list[str]
