"""`--codec auto`: the smallest payload that keeps the accuracy, measured on a sample of the user's own images.

Head and tail both run on this machine. With labels, a codec may lose at most the limit of accuracy and of the
probability of the true classes, which estimates the same loss with much less noise. Without labels, it may change at
most the limit of the predictions.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from hybrid_batch.data.errors import StorageFailed, WrongUsage
from hybrid_batch.data.images.decode import UndecodableImage, decode
from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cache import cache_folder, write_cache_file
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import Runtime, compile_head, compile_tail
from hybrid_batch.inference.model.scores import to_scores
from hybrid_batch.inference.planner.calibration.accuracy_drop import CodecChoice, measure_drop
from hybrid_batch.inference.planner.calibration.sensitivity import measure_sensitivity
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs import is_calibrated, wire_tensors
from hybrid_batch.inference.protocol.codecs.calibrated import is_cached, save_grids
from hybrid_batch.inference.protocol.wire import Frame

SAMPLE_IMAGES = 200
_BATCH = 20
_MAX_FILE_BYTES = 32 << 20
_COARSENESS = tuple(2 ** (exponent / 8) for exponent in range(4, -41, -1))  # steps in standard deviations, descending
_VERSION = 5


def choose_codec(
    bundle: Bundle,
    runtime: Runtime,
    cut: Cut,
    images: ImageSet,
    *,
    limit_points: float,
    notify: Callable[[str], None],
) -> CodecChoice:
    """Choose the codec of fewest bytes at the cut that loses at most `limit_points` on up to 200 of the images.

    If none does, it is `fp32`, or `image` at the input cut. The choice is cached by bundle, runtime, cut, sample and
    limit; `notify` receives a line for the user before it is measured. Raises WrongUsage if no image can be classified,
    StorageFailed if the grids cannot be written to the cache."""
    rows = _sample_rows(images)
    path = cache_folder("calibrations") / f"{_key(bundle, runtime, cut, rows, limit_points)}.json"
    if (cached := _read_choice(path)) is not None:
        return cached
    notify(
        f"Calibrating a codec for {cut.id} on {format_count(len(rows), 'image')}; later runs use the cached result …"
    )
    sample = _without_failures(bundle, runtime, _load_sample(bundle, images, rows))
    choose = _choose_image_codec if cut is bundle.input_cut else _choose_tensor_codec
    choice = choose(bundle, runtime, cut, sample, limit_points)
    with suppress(StorageFailed):  # without a cache the next run calibrates again
        write_cache_file(path, json.dumps(asdict(choice)))
    return choice


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    label: str | None
    size: int


@dataclass(frozen=True, slots=True)
class _Sample:
    """Image files, their pixels (images, H, W, C) and their true classes (images,), -1 where unknown."""

    files: list[bytes]
    pixels: np.ndarray
    truth: np.ndarray


def _sample_rows(images: ImageSet) -> list[_Row]:
    """Up to 200 images at even distances."""
    count = images.table.num_rows
    chosen = sorted({number * count // SAMPLE_IMAGES for number in range(SAMPLE_IMAGES)})
    return [_Row(row["image"], row["label"], row["size"]) for row in images.table.take(chosen).to_pylist()]


def _key(bundle: Bundle, runtime: Runtime, cut: Cut, rows: Sequence[_Row], limit_points: float) -> str:
    facts = [_VERSION, bundle.sha256, runtime.name, cut.id, limit_points, *map(asdict, rows)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _read_choice(path: Path) -> CodecChoice | None:
    """The cached choice; None if the file is missing or damaged, or if the choice's grids are no longer cached."""
    try:
        choice = msgspec.json.decode(path.read_bytes(), type=CodecChoice)
    except (OSError, ValueError):
        return None
    return None if is_calibrated(choice.codec) and not is_cached(choice.codec) else choice


def _load_sample(bundle: Bundle, images: ImageSet, rows: Sequence[_Row]) -> _Sample:
    """The readable images. Raises WrongUsage if none is readable."""
    files, pixels, truth = [], [], []
    for row in rows:
        try:
            file = images.root.read(row.name, _MAX_FILE_BYTES)
            pixels.append(decode(file, bundle.preprocessing))
        except (UndecodableImage, FileNotFoundError, StorageFailed):
            continue
        files.append(file)
        truth.append(bundle.labels.index(row.label) if row.label in bundle.labels else -1)
    if not files:
        raise WrongUsage(
            f"None of {format_count(len(rows), 'image')} can be read, so --codec auto cannot choose; name a codec."
        )
    return _Sample(files, np.stack(pixels), np.array(truth))


def _without_failures(bundle: Bundle, runtime: Runtime, sample: _Sample) -> _Sample:
    """The images for which the model gives finite scores; the others are errors in a run."""
    finite = np.isfinite(_scorer(bundle, runtime, bundle.input_cut)([sample.pixels])).all(axis=1)
    if not finite.any():
        raise WrongUsage(
            f"The model gives none of {format_count(len(finite), 'image')} finite scores, so --codec auto cannot "
            "choose; name a codec."
        )
    files = [file for file, is_finite in zip(sample.files, finite, strict=True) if is_finite]
    return _Sample(files, sample.pixels[finite], sample.truth[finite])


def _choose_image_codec(
    bundle: Bundle, runtime: Runtime, cut: Cut, sample: _Sample, limit_points: float
) -> CodecChoice:
    """The smallest of the image files and their JPEG versions."""
    scores = _scorer(bundle, runtime, cut)
    before = scores([sample.pixels])

    def measure(codec: str, files: list[bytes], after: np.ndarray) -> CodecChoice:
        return CodecChoice(codec, sum(map(len, files)) / len(files), measure_drop(before, after, sample.truth))

    choices = [measure(codecs.IMAGE, sample.files, before)]
    for codec in codecs.list_recompressing_codecs():
        files = [codecs.open_image_codec(codec).recompress(file, bundle.preprocessing) for file in sample.files]
        pixels = np.stack([decode(file, bundle.preprocessing) for file in files])
        choices.append(measure(codec, files, scores([pixels])))
    allowed = [choice for choice in choices if choice.drop.is_within(limit_points)]
    return min(allowed, key=lambda choice: choice.image_bytes)


def _choose_tensor_codec(
    bundle: Bundle, runtime: Runtime, cut: Cut, sample: _Sample, limit_points: float
) -> CodecChoice:
    """The coarsest calibrated grids within the limit, else the first of int8, fp16 and fp32."""
    head, scores = compile_head(runtime, bundle, cut), _scorer(bundle, runtime, cut)
    tensors = [np.concatenate(parts) for parts in zip(*(head([part]) for part in _batches(sample.pixels)), strict=True)]
    before = scores(tensors)

    def try_codec(codec: str) -> CodecChoice:
        frames = [
            Frame(wire_tensors.encode(codec, cut.boundary, part)) for part in zip(*map(_batches, tensors), strict=True)
        ]
        decoded = [wire_tensors.decode(cut.boundary, frame) for frame in frames]
        after = scores([np.concatenate(parts) for parts in zip(*decoded, strict=True)])
        sent_bytes = sum(len(tensor.data) for frame in frames for tensor in frame.tensors)
        return CodecChoice(codec, sent_bytes / len(sample.pixels), measure_drop(before, after, sample.truth))

    sensitivities = measure_sensitivity(cut.boundary, tensors, scores)

    @cache
    def try_coarseness(index: int) -> CodecChoice:
        return try_codec(save_grids({name: one.grid(_COARSENESS[index]) for name, one in sensitivities.items()}))

    # The smooth loss falls with the index, so bisection finds where it meets the limit. Accuracy is noisier.
    coarsest = bisect_left(
        range(len(_COARSENESS)), True, key=lambda index: try_coarseness(index).drop.smooth_points <= limit_points
    )
    for index in range(coarsest, len(_COARSENESS)):
        if try_coarseness(index).drop.is_within(limit_points):
            return try_coarseness(index)
    plain = (try_codec(codec) for codec in ("int8", codecs.FP16, codecs.FP32))
    return next(choice for choice in plain if choice.codec == codecs.FP32 or choice.drop.is_within(limit_points))


def _scorer(bundle: Bundle, runtime: Runtime, cut: Cut) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """A function from boundary tensors (images, …) to scores (images, classes), batch by batch."""
    tail = compile_tail(runtime, bundle, cut)

    def scores(tensors: Sequence[np.ndarray]) -> np.ndarray:
        parts = zip(*map(_batches, tensors), strict=True)
        return np.concatenate([to_scores(bundle, tail(part)[0]) for part in parts])

    return scores


def _batches(array: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(array[start : start + _BATCH]) for start in range(0, len(array), _BATCH)]
