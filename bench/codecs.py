"""Bytes against accuracy: every codec at some cuts of pretrained models, and JPEG upload at several qualities."""

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

from bench.fixtures import SHARED_DATA
from bench.pretrained import PRETRAINED, import_pretrained
from bench.results import report
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

_BATCH, _SINGLE_IMAGES = 20, 40
_MAX_DROP_POINTS = 0.5
_MAX_HEAD_SHARE = 0.6
_QUALITIES = (10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)
_COARSENESS = {
    "calibrated 1/5": 1 / 5,
    "calibrated 2/7": 2 / 7,
    "calibrated 1/3": 1 / 3,
    "calibrated 7/20": 7 / 20,
    "calibrated 2/5": 2 / 5,
    "calibrated 1/2": 1 / 2,
}


@dataclass(frozen=True, slots=True)
class _Model:
    bundle: Bundle
    runtime: Runtime
    images: ImageSet
    files: list[bytes]
    pixels: np.ndarray
    truth: np.ndarray

    def scores(self, cut: Cut) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
        """Return the tail of a cut as a function from tensors to scores (images, classes)."""
        tail = compile_tail(self.runtime, self.bundle, cut)
        return lambda tensors: np.concatenate([to_scores(self.bundle, tail(part)[0]) for part in _batches(tensors)])


def main() -> None:
    """Measure and report."""
    if not SHARED_DATA.is_dir():
        print(f"(no pretrained models in {SHARED_DATA}; nothing to measure)", file=sys.stderr)
        return
    with TemporaryDirectory() as folder:
        os.environ["HYBRID_BATCH_CACHE"] = folder
        for name, pretrained in PRETRAINED.items():
            model = _open(name, Path(folder))
            rows = [*_jpegs(model)]
            for cut in map(model.bundle.cut, pretrained.cuts):
                rows += _tensors(model, cut)
            report(f"codecs_{name}", rows)
            _summary(rows)


def _open(name: str, folder: Path) -> _Model:
    bundle, images = import_pretrained(name, folder)
    files = [images.root.read(name) for name in images.table["image"].to_pylist()]
    truth = np.array([bundle.labels.index(label) for label in images.table["label"].to_pylist()])
    pixels = np.stack([decode(file, bundle.preprocessing) for file in files])
    return _Model(bundle, open_runtime("openvino", bundle), images, files, pixels, truth)


def _jpegs(model: _Model) -> Iterator[dict[str, Any]]:
    """Measure JPEG files of the model's input size, by quality."""
    scores = model.scores(model.bundle.input_cut)
    before = scores([model.pixels])
    images = [decode_image(file, model.bundle.preprocessing) for file in model.files]
    for quality in _QUALITIES:
        start = time.perf_counter()
        files = [_jpeg(image, quality) for image in images]
        encoded = time.perf_counter()
        pixels = np.stack([decode(file, model.bundle.preprocessing) for file in files])
        spent = (encoded - start, time.perf_counter() - encoded)
        sent = sum(map(len, files)) / len(files)
        loss = _accuracy_loss(model, before, scores([pixels]))
        yield _row(
            model.bundle.input_cut, f"jpeg q{quality}", (sent, sent), loss, [1e3 * s / len(files) for s in spent]
        )


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _tensors(model: _Model, cut: Cut) -> Iterator[dict[str, Any]]:
    """Measure every codec at a cut; `auto` and `calibrated` are calibrated on 200 images, the loss is that of all."""
    head, scores = compile_head(model.runtime, model.bundle, cut), model.scores(cut)
    tensors = [np.concatenate(parts) for parts in zip(*map(head, _batches([model.pixels])), strict=True)]
    before = scores(tensors)
    sensitivities = measure_sensitivity(cut.boundary, [tensor[::2] for tensor in tensors], scores)
    choice = choose_codec(
        model.bundle, model.runtime, cut, model.images, limit_points=_MAX_DROP_POINTS, notify=lambda _: None
    )
    names = {name: name for name in codecs.TENSOR_CODECS if name != codecs.FP32} | {
        name: save_grids({tensor: sensitivity.grid(coarseness) for tensor, sensitivity in sensitivities.items()})
        for name, coarseness in _COARSENESS.items()
    }
    for name, codec in (names | {"auto": choice.codec}).items():
        frames = [Frame(wire_tensors.encode(codec, cut.boundary, part)) for part in _batches(tensors)]
        decoded = [wire_tensors.decode(cut.boundary, frame) for frame in frames]
        after = scores([np.concatenate(parts) for parts in zip(*decoded, strict=True)])
        alone, spent = 0, np.zeros((_SINGLE_IMAGES, 2))
        for at in range(_SINGLE_IMAGES):
            start = time.perf_counter()
            frame = Frame(wire_tensors.encode(codec, cut.boundary, [tensor[at : at + 1] for tensor in tensors]))
            encoded = time.perf_counter()
            wire_tensors.decode(cut.boundary, frame)
            spent[at] = encoded - start, time.perf_counter() - encoded
            alone += _bytes(frame)
        sizes = (sum(map(_bytes, frames)) / len(before), alone / _SINGLE_IMAGES)
        yield _row(cut, name, sizes, _accuracy_loss(model, before, after), (1e3 * np.median(spent, axis=0)).tolist())


def _batches(tensors: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(tensors[0]), _BATCH):
        yield [np.ascontiguousarray(tensor[start : start + _BATCH]) for tensor in tensors]


def _bytes(frame: Frame) -> int:
    return sum(len(tensor.data) for tensor in frame.tensors)


def _accuracy_loss(model: _Model, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    drop = measure_drop(before, after, model.truth)
    return {
        "accuracy": float((after.argmax(axis=1) == model.truth).mean()),
        "drop, points": drop.points,
        "probability, points": round(drop.probability_points, 2),
        "changed, %": measure_drop(before, after, None).points,
    }


def _row(
    cut: Cut, codec: str, sizes: tuple[float, float], loss: dict[str, float], spent_ms: Sequence[float]
) -> dict[str, Any]:
    return {
        "cut": f"{cut.id} {cut.name}",
        "head's work": round(cut.head_share, 3),
        "codec": codec,
        "bytes": round(sizes[0]),
        "alone": round(sizes[1]),
        "bits/element": round(8 * sizes[0] / sum(spec.elements for spec in cut.boundary), 2),
        **loss,
        "encode ms": round(spent_ms[0], 2),
        "decode ms": round(spent_ms[1], 2),
    }


def _summary(rows: Sequence[dict[str, Any]]) -> None:
    keeping = [row for row in rows if row["drop, points"] <= _MAX_DROP_POINTS + 1e-9]
    jpegs = [row for row in keeping if row["codec"].startswith("jpeg")]
    ours = [row for row in keeping if row not in jpegs and row["head's work"] <= _MAX_HEAD_SHARE]
    if jpegs and ours:
        upload, split = (min(found, key=lambda row: int(row["bytes"])) for found in (jpegs, ours))
        print(
            f"Losing at most {_MAX_DROP_POINTS} points: {upload['codec']} {upload['bytes']} bytes; {split['codec']} at"
            f" {split['cut']} {split['bytes']}, {split['bytes'] / upload['bytes']:.2f} of it."
        )


if __name__ == "__main__":
    main()
