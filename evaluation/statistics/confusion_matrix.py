"""The confusion matrix and the measures computed from it, with scikit-learn's definitions."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybrid_batch.evaluation.report_schema import Confusion

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

STATISTICS = (
    "balanced_accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "precision_weighted",
    "f1_weighted",
    "cohen_kappa",
    "matthews",
)


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """The cells above 0, by ascending (label, prediction); both are indices into the sorted list `classes`."""

    classes: list[str]
    label: Integers
    prediction: Integers
    records: Integers

    def to_report(self) -> Confusion:
        """The matrix as the report stores it."""
        return Confusion(
            classes=self.classes,
            label=self.label.tolist(),
            prediction=self.prediction.tolist(),
            records=self.records.tolist(),
        )

    def margins(self) -> tuple[Reals, Reals, Reals]:
        """For each class: correct records, records with the label, records with the prediction; each (classes,)."""
        correct = self.label == self.prediction
        places = (self.label[correct], self.label, self.prediction)
        records = (self.records[correct], self.records, self.records)
        diagonal, labels, predictions = (
            np.bincount(place, n, len(self.classes)).astype(np.float64)
            for place, n in zip(places, records, strict=True)
        )
        return diagonal, labels, predictions


def build_matrix(counts: pa.Table) -> ConfusionMatrix:
    """The confusion matrix of the tally `confusion`."""
    columns = [counts[name].combine_chunks() for name in ("label", "prediction")]
    dictionaries = [column.dictionary.to_pylist() for column in columns]
    codes = [np.asarray(column.indices) for column in columns]
    used = (
        names[code] for names, column in zip(dictionaries, codes, strict=True) for code in np.unique(column).tolist()
    )
    classes = sorted(set(used))
    index = {name: number for number, name in enumerate(classes)}
    label, prediction = (
        np.array([index.get(name, -1) for name in names], np.int64)[column] if len(column) else column.astype(np.int64)
        for names, column in zip(dictionaries, codes, strict=True)
    )
    order = np.lexsort((prediction, label))
    return ConfusionMatrix(classes, label[order], prediction[order], counts["records"].to_numpy()[order])


def matrix_statistics(diagonal: Reals, labels: Reals, predictions: Reals) -> Reals:
    """The values of `STATISTICS`, (..., 8), from margins of shape (..., classes); NaN where not defined.

    As in scikit-learn, averages are over the classes that occur as a label or as a prediction, and a measure that would
    divide by 0 is 0; balanced accuracy is over the classes that occur as a label.
    """
    total = labels.sum(-1)
    recall, precision = _ratio(diagonal, labels), _ratio(diagonal, predictions)
    f1 = _ratio(2 * diagonal, labels + predictions)
    occurring = (labels + predictions > 0).sum(-1)
    right = diagonal.sum(-1)
    by_chance = (labels * predictions).sum(-1)
    square = total * total
    spread = np.sqrt(np.maximum(square - (labels**2).sum(-1), 0) * np.maximum(square - (predictions**2).sum(-1), 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack(
            [
                recall.sum(-1) / (labels > 0).sum(-1),
                precision.sum(-1) / occurring,
                recall.sum(-1) / occurring,
                f1.sum(-1) / occurring,
                (precision * labels).sum(-1) / total,
                (f1 * labels).sum(-1) / total,
                (right * total - by_chance) / (square - by_chance),
                np.where(spread > 0, (right * total - by_chance) / spread, 0.0),
            ],
            axis=-1,
        )


def _ratio(part: Reals, whole: Reals) -> Reals:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
