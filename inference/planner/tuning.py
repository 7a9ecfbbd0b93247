"""Grids for the tensors of a cut: finer where the model minds more.

How much a channel matters is measured: noise in it alone, on some images, and how far the scores move, as the
distance of Hellinger sees it, which rare classes do not upset. At a given number of bits the loss is least where a
channel's step goes with one over the root of that (high-resolution theory: Gersho and Gray, Vector Quantization, 8.3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inference.codecs.quantised import Grid
from inference.cuts import TensorSpec
from inference.datatypes import FLOATS

_IMAGES = 32
_GROUPS = 64  # as many trials a tensor; where it has more channels, those of like deviation are tried together
_WIDEST = 16.0  # between a channel's step and the typical one


@dataclass(frozen=True, slots=True)
class Tuning:
    """What grids are made from, by tensor: relative steps of the channels and the range of their values."""

    steps: dict[str, np.ndarray]
    lows: dict[str, np.ndarray]
    highs: dict[str, np.ndarray]

    def grids(self, coarseness: float) -> dict[str, Grid]:
        """Grids whose typical step is so many of the tensor's standard deviations."""
        return {
            name: Grid.around(steps * coarseness, self.lows[name], self.highs[name])
            for name, steps in self.steps.items()
        }


def tune(
    boundary: Sequence[TensorSpec],
    tensors: Sequence[np.ndarray],
    scores: Callable[[Sequence[np.ndarray]], np.ndarray],
) -> Tuning:
    """Measure on the tensors (images, …, channels) of a sample; `scores` is the tail, giving (images, classes)."""
    few = [tensor[:_IMAGES] for tensor in tensors]
    before = np.sqrt(scores(few))
    steps, lows, highs = {}, {}, {}
    for place, spec in enumerate(boundary):
        if spec.datatype not in FLOATS or not tensors[place].size:
            continue
        channels = np.nan_to_num(tensors[place].astype(np.float64)).reshape(-1, (spec.shape or (1,))[-1])
        lows[spec.name], highs[spec.name] = channels.min(axis=0), channels.max(axis=0)
        deviations = channels.std(axis=0)
        typical = float(channels.std()) or 1.0
        matters = np.empty(len(deviations))
        chance = np.random.default_rng(0)
        for group in np.array_split(np.argsort(deviations, kind="stable"), min(_GROUPS, len(deviations))):
            reach = max(float(deviations[group].mean()), typical / _WIDEST)
            noise = np.zeros_like(few[place])
            noise[..., group] = chance.uniform(-reach, reach, noise[..., group].shape)
            after = np.sqrt(scores([*few[:place], few[place] + noise, *few[place + 1 :]]))
            matters[group] = np.square(after - before).sum() / (len(group) * reach**2)
        wanted = 1 / np.sqrt(np.maximum(matters, matters.max() * 1e-6 or 1.0))
        relative = wanted / np.exp(np.log(wanted).mean())
        steps[spec.name] = typical * np.clip(relative, 1 / _WIDEST, _WIDEST)
    return Tuning(steps, lows, highs)
