"""`--codec auto`: the smallest payload that keeps the accuracy, found on a sample of the user's own images.

Both halves run here. With labels a codec must not lose more than the limit of accuracy, nor of the probability that the
model gives the true classes: that is what accuracy estimates with several times the noise. Without labels it must
not change more predictions than that.
"""

import hashlib
import json
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from hybrid_batch.data.errors import StorageFailed, WrongUsage
from hybrid_batch.data.images.decode import CannotDecode, decode
from hybrid_batch.data.images.images import Images
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cache import cache_folder, keep_file
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import Engine, compile_head, compile_tail
from hybrid_batch.inference.planner.calibration.sensitivity import tune
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs.calibrated import is_known, is_tuned, keep_grids
from hybrid_batch.inference.protocol.codecs.jpeg import JPEG_QUALITY, recompress
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.runner.batch import to_scores

SAMPLE = 200
_BATCH = 20
_LIMIT_BYTES = 32 << 20
_COARSENESS = tuple(2 ** (exponent / 8) for exponent in range(4, -41, -1))  # of steps, in deviations
_ONE_SIDED_95 = 1.645
_VERSION = 4


@dataclass(frozen=True, slots=True)
class Drop:
    """What a codec loses against the uncoded tensors. `points` is accuracy lost where `labelled`, else predictions
    changed, in per cent; with 95 % confidence it is at most `most_points`. `probability_points` is the loss of the
    probability of the true class, or of the uncoded prediction."""

    images: int
    labelled: bool
    points: float
    most_points: float
    probability_points: float

    @property
    def smooth_points(self) -> float:
        """The loss that grows steadily as steps grow coarser."""
        return self.probability_points if self.labelled else self.points

    def within(self, limit_points: float) -> bool:
        """Whether this is a loss of at most so many points."""
        return max(self.points, self.smooth_points) <= limit_points + 1e-9

    def __str__(self) -> str:
        what = "loses {:.1f} points of accuracy" if self.labelled else "changes {:.1f} % of the predictions"
        return f"{what.format(self.points)} on {self.images} images (95 % sure: at most {self.most_points:.1f})"


@dataclass(frozen=True, slots=True)
class Choice:
    """The codec chosen for a cut, its bytes an image in batches of 20, and what it loses."""

    codec: str
    image_bytes: float
    drop: Drop


def choose_codec(
    bundle: Bundle, engine: Engine, cut: Cut, images: Images, *, limit_points: float, say: Callable[[str], None]
) -> Choice:
    """The codec of least bytes at this cut that loses at most `limit_points` per cent on up to 200 of the images, or
    `fp32` (`image` where the whole model is remote) if none does. Found once, then kept in the user's cache by
    bundle, cut, sample and limit. Raises WrongUsage if no image can be classified, StorageFailed if grids cannot be
    kept."""
    rows = _sample_rows(images)
    place = cache_folder("calibrations") / f"{_key(bundle, engine, cut, rows, limit_points)}.json"
    if (kept := _read(place)) is not None:
        return kept
    say(f"Calibrating the codec of {cut.id} on {len(rows)} images, once …")
    sample = _scored(bundle, engine, _load(bundle, images, rows))
    choose = _choose_pictures if cut is bundle.whole else _choose_tensors
    choice = choose(bundle, engine, cut, sample, limit_points)
    with suppress(StorageFailed):  # then it is only found again
        keep_file(place, json.dumps(asdict(choice)))
    return choice


def measure_drop(before: np.ndarray, after: np.ndarray, truth: np.ndarray | None) -> Drop:
    """Of scores (images, classes) by those of the same images coded; `truth` is their classes, -1 where not known. An
    image that has no finite scores once it was coded is lost."""
    finite = np.isfinite(after).all(axis=1, keepdims=True)
    after = np.where(finite, after, 0)
    tops = np.where(finite[:, 0], after.argmax(axis=1), -1)
    if truth is not None and (known := truth >= 0).any():
        before, after, tops, classes = before[known], after[known], tops[known], truth[known]
        right, still = before.argmax(axis=1) == classes, tops == classes
        worse, better = int((right & ~still).sum()), int((~right & still).sum())
        most = _most_lost(worse, better, len(classes))
        points = worse - better
    else:
        truth, classes = None, before.argmax(axis=1)
        points = int((tops != classes).sum())
        most = _most_changed(points, len(classes))
    rows = np.arange(len(classes))
    lost = float((before[rows, classes] - after[rows, classes]).mean())
    return Drop(len(classes), truth is not None, 100 * points / len(classes), 100 * most, 100 * lost)


def _most_lost(worse: int, better: int, count: int) -> float:
    """Upper bound of a difference of paired proportions (Agresti and Min 2005, Statistics in Medicine 24:729)."""
    worse_, better_, count_ = worse + 0.5, better + 0.5, count + 2
    lost = (worse_ - better_) / count_
    return lost + _ONE_SIDED_95 * math.sqrt(worse_ + better_ - (worse_ - better_) ** 2 / count_) / count_


def _most_changed(changed: int, count: int) -> float:
    """Upper bound of a proportion (Wilson 1927)."""
    z2 = _ONE_SIDED_95**2
    share = changed / count
    spread = _ONE_SIDED_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return (share + z2 / (2 * count) + spread) / (1 + z2 / count)


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    label: str | None
    size: int


@dataclass(frozen=True, slots=True)
class _Sample:
    """Files, pixels (images, H, W, C) and classes (-1: not known)."""

    files: list[bytes]
    pixels: np.ndarray
    truth: np.ndarray


def _sample_rows(images: Images) -> list[_Row]:
    """Up to 200 images, evenly over all of them."""
    count = images.table.num_rows
    chosen = sorted({at * count // SAMPLE for at in range(SAMPLE)})
    return [_Row(row["image"], row["label"], row["size"]) for row in images.table.take(chosen).to_pylist()]


def _key(bundle: Bundle, engine: Engine, cut: Cut, rows: Sequence[_Row], limit_points: float) -> str:
    told = [_VERSION, bundle.sha256, engine.name, cut.id, limit_points, *map(asdict, rows)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _read(place: Path) -> Choice | None:
    """What was found before; None if nothing whole is there, or its grids are gone."""
    try:
        stored = json.loads(place.read_text(encoding="utf-8"))
        choice = Choice(stored["codec"], stored["image_bytes"], Drop(**stored["drop"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if is_tuned(choice.codec) and not is_known(choice.codec) else choice


def _load(bundle: Bundle, images: Images, rows: Sequence[_Row]) -> _Sample:
    """Those of the images that can be read."""
    files, pixels, truth = [], [], []
    for row in rows:
        try:
            file = images.root.read(row.name, _LIMIT_BYTES)
            pixels.append(decode(file, bundle.preparation))
        except (CannotDecode, FileNotFoundError, StorageFailed):
            continue
        files.append(file)
        truth.append(bundle.labels.index(row.label) if row.label in bundle.labels else -1)
    if not files:
        raise WrongUsage(f"None of {len(rows)} images can be read, so --codec auto cannot choose; name a codec.")
    return _Sample(files, np.stack(pixels), np.array(truth))


def _scored(bundle: Bundle, engine: Engine, sample: _Sample) -> _Sample:
    """Without the images that the model gives no finite scores, which are errors in a run."""
    good = np.isfinite(_scores(bundle, engine, bundle.whole)([sample.pixels])).all(axis=1)
    if not good.any():
        raise WrongUsage(
            f"The model gives none of {len(good)} images finite scores, so --codec auto cannot choose; name a codec."
        )
    files = [file for file, one in zip(sample.files, good, strict=True) if one]
    return _Sample(files, sample.pixels[good], sample.truth[good])


def _choose_pictures(bundle: Bundle, engine: Engine, cut: Cut, sample: _Sample, limit_points: float) -> Choice:
    """The smallest of the pictures' own bytes and the JPEG qualities."""
    scores = _scores(bundle, engine, cut)
    before = scores([sample.pixels])

    def measured(codec: str, files: list[bytes], after: np.ndarray) -> Choice:
        return Choice(codec, sum(map(len, files)) / len(files), measure_drop(before, after, sample.truth))

    found = [measured(codecs.IMAGE, sample.files, before)]
    for codec in JPEG_QUALITY:
        files = [recompress(file, bundle.preparation, codec) for file in sample.files]
        found.append(measured(codec, files, scores([np.stack([decode(file, bundle.preparation) for file in files])])))
    return min((choice for choice in found if choice.drop.within(limit_points)), key=lambda choice: choice.image_bytes)


def _choose_tensors(bundle: Bundle, engine: Engine, cut: Cut, sample: _Sample, limit_points: float) -> Choice:
    """The coarsest tuned grids within the limit, or the first of the plain codecs that is."""
    head, scores = compile_head(engine, bundle, cut), _scores(bundle, engine, cut)
    tensors = [np.concatenate(parts) for parts in zip(*(head([part]) for part in _batches(sample.pixels)), strict=True)]
    before = scores(tensors)

    def try_codec(codec: str) -> Choice:
        frames = [Frame(codecs.encode(codec, cut.boundary, part)) for part in zip(*map(_batches, tensors), strict=True)]
        decoded = [codecs.decode(cut.boundary, frame) for frame in frames]
        after = scores([np.concatenate(parts) for parts in zip(*decoded, strict=True)])
        sent = sum(len(tensor.data) for frame in frames for tensor in frame.tensors)
        return Choice(codec, sent / len(sample.pixels), measure_drop(before, after, sample.truth))

    tuning = tune(cut.boundary, tensors, scores)

    @cache
    def try_coarseness(at: int) -> Choice:
        return try_codec(keep_grids(tuning.grids(_COARSENESS[at])))

    coarsest = bisect_left(
        range(len(_COARSENESS)), True, key=lambda at: try_coarseness(at).drop.smooth_points <= limit_points
    )
    for at in range(coarsest, len(_COARSENESS)):
        if try_coarseness(at).drop.within(limit_points):
            return try_coarseness(at)
    plain = (try_codec(codec) for codec in ("int8", codecs.HALF, codecs.RAW))
    return next(choice for choice in plain if choice.codec == codecs.RAW or choice.drop.within(limit_points))


def _scores(bundle: Bundle, engine: Engine, cut: Cut) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    tail = compile_tail(engine, bundle, cut)

    def scores(tensors: Sequence[np.ndarray]) -> np.ndarray:
        parts = zip(*map(_batches, tensors), strict=True)
        return np.concatenate([to_scores(bundle, tail(part)[0]) for part in parts])

    return scores


def _batches(array: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(array[start : start + _BATCH]) for start in range(0, len(array), _BATCH)]
