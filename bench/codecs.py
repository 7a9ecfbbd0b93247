"""Bytes against accuracy: every codec at some cuts of published models, and JPEG upload at every quality."""

import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from bench.pretrained import PUBLISHED, import_published
from bench.results import report
from bench.fixtures import SHARED
from hybrid_batch.data.images.decode import decode, decode_image
from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import Runtime, compile_head, compile_tail, open_runtime
from hybrid_batch.inference.model.scores import to_scores
from hybrid_batch.inference.planner.calibration.accuracy_drop import measure_drop
from hybrid_batch.inference.planner.calibration.calibration import choose_codec
from hybrid_batch.inference.planner.calibration.sensitivity import measure_sensitivity
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.codecs.calibrated import save_grids
from hybrid_batch.inference.protocol.wire import Frame

_BATCH, _ALONE = 20, 40
_KEEPS_POINTS = 0.5
_MOST_WORK = 0.6
_QUALITIES = (10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)
_COARSENESS = {
    "tuned 1/5": 1 / 5,
    "tuned 2/7": 2 / 7,
    "tuned 1/3": 1 / 3,
    "tuned 7/20": 7 / 20,
    "tuned 2/5": 2 / 5,
    "tuned 1/2": 1 / 2,
}


@dataclass(frozen=True, slots=True)
class _Subject:
    bundle: Bundle
    engine: Runtime
    images: ImageSet
    files: list[bytes]
    pixels: np.ndarray
    truth: np.ndarray

    def scores(self, cut: Cut) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
        """The tail of a cut, giving scores (images, classes)."""
        tail = compile_tail(self.engine, self.bundle, cut)
        return lambda tensors: np.concatenate([to_scores(self.bundle, tail(part)[0]) for part in _batches(tensors)])


def main() -> None:
    """Measure and report."""
    if not SHARED.is_dir():
        print(f"(no published models at {SHARED}: nothing to measure)", file=sys.stderr)
        return
    with TemporaryDirectory() as folder:
        os.environ["HYBRID_BATCH_CACHE"] = folder
        for name, published in PUBLISHED.items():
            subject = _open(name, Path(folder))
            rows = [*_jpegs(subject)]
            for cut in map(subject.bundle.cut, published.cuts):
                rows += _tensors(subject, cut)
            report(f"codecs_{name}", rows)
            _summary(rows)


def _open(name: str, folder: Path) -> _Subject:
    bundle, images = import_published(name, folder)
    files = [images.root.read(name) for name in images.table["image"].to_pylist()]
    truth = np.array([bundle.labels.index(label) for label in images.table["label"].to_pylist()])
    pixels = np.stack([decode(file, bundle.preprocessing) for file in files])
    return _Subject(bundle, open_runtime("openvino", bundle), images, files, pixels, truth)


def _jpegs(subject: _Subject) -> Iterator[dict[str, Any]]:
    """The pictures at the model's input size, by quality."""
    scores = subject.scores(subject.bundle.input_cut)
    before = scores([subject.pixels])
    pictures = [decode_image(file, subject.bundle.preprocessing) for file in subject.files]
    for quality in _QUALITIES:
        start = time.perf_counter()
        files = [_jpeg(picture, quality) for picture in pictures]
        encoded = time.perf_counter()
        pixels = np.stack([decode(file, subject.bundle.preprocessing) for file in files])
        spent = (encoded - start, time.perf_counter() - encoded)
        sent = sum(map(len, files)) / len(files)
        lost = _lost(subject, before, scores([pixels]))
        yield _row(
            subject.bundle.input_cut, f"jpeg q{quality}", (sent, sent), lost, [1e3 * s / len(files) for s in spent]
        )


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _tensors(subject: _Subject, cut: Cut) -> Iterator[dict[str, Any]]:
    """Every codec at a cut; `auto` and `tuned` are calibrated on 200 of the images, the loss is that of all."""
    head, scores = compile_head(subject.engine, subject.bundle, cut), subject.scores(cut)
    tensors = [np.concatenate(parts) for parts in zip(*map(head, _batches([subject.pixels])), strict=True)]
    before = scores(tensors)
    sensitivities = measure_sensitivity(cut.boundary, [tensor[::2] for tensor in tensors], scores)
    choice = choose_codec(
        subject.bundle, subject.engine, cut, subject.images, limit_points=_KEEPS_POINTS, notify=lambda _: None
    )
    names = {name: name for name in codecs.TENSOR_CODECS if name != codecs.FP32} | {
        name: save_grids({tensor: sensitivity.grid(coarseness) for tensor, sensitivity in sensitivities.items()})
        for name, coarseness in _COARSENESS.items()
    }
    for name, codec in (names | {"auto": choice.codec}).items():
        frames = [Frame(wire_tensors.encode(codec, cut.boundary, part)) for part in _batches(tensors)]
        decoded = [wire_tensors.decode(cut.boundary, frame) for frame in frames]
        after = scores([np.concatenate(parts) for parts in zip(*decoded, strict=True)])
        alone, spent = 0, np.zeros((_ALONE, 2))
        for at in range(_ALONE):
            start = time.perf_counter()
            frame = Frame(wire_tensors.encode(codec, cut.boundary, [tensor[at : at + 1] for tensor in tensors]))
            encoded = time.perf_counter()
            wire_tensors.decode(cut.boundary, frame)
            spent[at] = encoded - start, time.perf_counter() - encoded
            alone += _bytes(frame)
        sizes = (sum(map(_bytes, frames)) / len(before), alone / _ALONE)
        yield _row(cut, name, sizes, _lost(subject, before, after), (1e3 * np.median(spent, axis=0)).tolist())


def _batches(tensors: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(tensors[0]), _BATCH):
        yield [np.ascontiguousarray(tensor[start : start + _BATCH]) for tensor in tensors]


def _bytes(frame: Frame) -> int:
    return sum(len(tensor.data) for tensor in frame.tensors)


def _lost(subject: _Subject, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    drop = measure_drop(before, after, subject.truth)
    return {
        "accuracy": float((after.argmax(axis=1) == subject.truth).mean()),
        "drop, points": drop.points,
        "probability, points": round(drop.probability_points, 2),
        "changed, %": measure_drop(before, after, None).points,
    }


def _row(
    cut: Cut, codec: str, sizes: tuple[float, float], lost: dict[str, float], spent_ms: Sequence[float]
) -> dict[str, Any]:
    return {
        "cut": f"{cut.id} {cut.name}",
        "head's work": round(cut.head_share, 3),
        "codec": codec,
        "bytes": round(sizes[0]),
        "alone": round(sizes[1]),
        "bits/element": round(8 * sizes[0] / sum(spec.elements for spec in cut.boundary), 2),
        **lost,
        "encode ms": round(spent_ms[0], 2),
        "decode ms": round(spent_ms[1], 2),
    }


def _summary(rows: Sequence[dict[str, Any]]) -> None:
    keeping = [row for row in rows if row["drop, points"] <= _KEEPS_POINTS + 1e-9]
    jpegs = [row for row in keeping if row["codec"].startswith("jpeg")]
    ours = [row for row in keeping if row not in jpegs and row["head's work"] <= _MOST_WORK]
    if jpegs and ours:
        upload, split = (min(found, key=lambda row: int(row["bytes"])) for found in (jpegs, ours))
        print(
            f"Losing at most {_KEEPS_POINTS} points: {upload['codec']} {upload['bytes']} bytes; {split['codec']} at"
            f" {split['cut']} {split['bytes']}, {split['bytes'] / upload['bytes']:.2f} of it."
        )


if __name__ == "__main__":
    main()
