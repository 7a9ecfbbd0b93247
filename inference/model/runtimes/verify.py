"""Proof that a cut changes nothing: head then tail against the whole model, at every cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.data.images.decode import scale_pixels
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import Engine, compile_head, compile_tail
from hybrid_batch.inference.runner.batch import to_scores

TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Verified:
    """`largest` is the largest absolute difference of any score, `same_top1` the share of inputs that agree."""

    cut: Cut
    largest: float
    same_top1: float

    @property
    def holds(self) -> bool:
        """Whether dividing here changes nothing; not so where scores are no numbers."""
        return self.largest <= TOLERANCE and self.same_top1 == 1


def verify_cuts(bundle: Bundle, engine: Engine, cuts: Sequence[Cut], inputs: int = 8) -> Iterator[Verified]:
    """Compare the scores at each cut, on `inputs` seeded pictures prepared as the bundle says."""
    images = sample_images(bundle, inputs)
    expected = to_scores(bundle, compile_tail(engine, bundle, bundle.whole)([images])[0])
    for cut in cuts:
        crossing = [images] if cut is bundle.whole else compile_head(engine, bundle, cut)([images])
        scores = to_scores(bundle, compile_tail(engine, bundle, cut)(crossing)[0])
        same = np.mean(scores.argmax(axis=1) == expected.argmax(axis=1))
        yield Verified(cut, float(np.abs(scores - expected).max()), float(same))


def sample_images(bundle: Bundle, count: int, seed: int = 0) -> np.ndarray:
    """Seeded pictures (count, H, W, C) float32 at the model's input: random blocks of 8x8 pixels, so that, unlike
    white noise, they drive deep layers apart."""
    height, width, channels = bundle.input.shape
    blocks = np.random.default_rng(seed).integers(0, 256, (count, -(-height // 8), -(-width // 8), channels))
    pixels = np.kron(blocks, np.ones((1, 8, 8, 1), dtype=blocks.dtype))[:, :height, :width]
    return scale_pixels(np.ascontiguousarray(pixels, dtype=np.float32), bundle.preparation)
