"""The accuracy that a codec loses, with its confidence bound."""

import math
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.terminal.numbers import format_count

_ONE_SIDED_95 = 1.645


@dataclass(frozen=True, slots=True)
class AccuracyDrop:
    """The loss of a codec against uncoded tensors, in percentage points over `images` images.

    `points` is lost accuracy where `labelled`, else changed predictions; with 95 % confidence it is at most
    `upper_bound_points`. `probability_points` is the lost probability of the true class, or of the uncoded prediction.
    """

    images: int
    labelled: bool
    points: float
    upper_bound_points: float
    probability_points: float

    @property
    def smooth_points(self) -> float:
        """The loss that grows steadily with coarser steps."""
        return self.probability_points if self.labelled else self.points

    def is_within(self, limit_points: float) -> bool:
        """Whether the loss is at most `limit_points`."""
        return max(self.points, self.smooth_points) <= limit_points + 1e-9

    def __str__(self) -> str:
        on = f"on {format_count(self.images, 'image')}"
        if not self.labelled:
            bound = f"at most {self.upper_bound_points:.1f} % with 95 % confidence"
            return f"changes {self.points:.1f} % of the predictions {on} ({bound})"
        lost, most = round(self.points, 1), round(self.upper_bound_points, 1)
        limit = f"loses at most {abs(most):.1f}" if most >= 0 else f"gains at least {-most:.1f}"
        change = f"gains {-lost:.1f}" if lost < 0 else f"loses {abs(lost):.1f}"
        return f"{change} points of accuracy {on} (with 95 % confidence it {limit})"


@dataclass(frozen=True, slots=True)
class CodecChoice:
    """The codec chosen for a cut, its bytes per image in batches of 20, and its loss."""

    codec: str
    image_bytes: float
    drop: AccuracyDrop


def measure_drop(before: np.ndarray, after: np.ndarray, truth: np.ndarray | None) -> AccuracyDrop:
    """Compare the scores (images, classes) of images before and after coding.

    `truth` has the true class of each image, -1 where unknown; images without one count only if no image has one. An
    image without finite scores after coding is lost."""
    finite = np.isfinite(after).all(axis=1, keepdims=True)
    after = np.where(finite, after, 0)
    predictions = np.where(finite[:, 0], after.argmax(axis=1), -1)
    if truth is not None and (known := truth >= 0).any():
        before, after, predictions, classes = before[known], after[known], predictions[known], truth[known]
        was_right, is_right = before.argmax(axis=1) == classes, predictions == classes
        worse, better = int((was_right & ~is_right).sum()), int((~was_right & is_right).sum())
        bound = _difference_bound(worse, better, len(classes))
        lost = worse - better
    else:
        truth, classes = None, before.argmax(axis=1)
        lost = int((predictions != classes).sum())
        bound = _proportion_bound(lost, len(classes))
    rows = np.arange(len(classes))
    probability = float((before[rows, classes] - after[rows, classes]).mean())
    return AccuracyDrop(len(classes), truth is not None, 100 * lost / len(classes), 100 * bound, 100 * probability)


def _difference_bound(worse: int, better: int, count: int) -> float:
    """Upper bound of a difference of paired proportions (Agresti and Min 2005, Statistics in Medicine 24:729)."""
    worse_, better_, count_ = worse + 0.5, better + 0.5, count + 2
    lost = (worse_ - better_) / count_
    return lost + _ONE_SIDED_95 * math.sqrt(worse_ + better_ - (worse_ - better_) ** 2 / count_) / count_


def _proportion_bound(changed: int, count: int) -> float:
    """Upper bound of a proportion (Wilson 1927)."""
    z2 = _ONE_SIDED_95**2
    share = changed / count
    spread = _ONE_SIDED_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return (share + z2 / (2 * count) + spread) / (1 + z2 / count)
