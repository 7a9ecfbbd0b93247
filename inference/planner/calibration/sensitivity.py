"""Grids for the tensors of a cut: finer where the model minds more.

How much errors matter is measured: noise in one channel, on some images, and how the scores move, as the distance of
Hellinger sees it, which rare classes do not upset. The same noise in two channels moves them alike where errors of
the two add up: the products of the moves are the metric by which errors are carried from channel to channel. At a given
number of bits the loss is least where a channel's step goes with one over the root of the harm that remains
(high-resolution theory: Gersho and Gray, Vector Quantization, 8.3).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.datatypes import FLOATS
from hybrid_batch.inference.protocol.codecs.error_feedback import Carry
from hybrid_batch.inference.protocol.codecs.quantised import Grid

_IMAGES = 32
_MOST_ALONE = 128  # channels a tensor tried one by one; of more, those of like deviation together in so many groups:
_GROUPS = 64
_CAUTIONS = (0.15, 0.5, 1.5, 5.0)  # of the typical harm, added to every channel's: few images do not show all
_WIDEST = 16.0  # between a channel's step and the typical one


@dataclass(frozen=True, slots=True)
class Tuning:
    """What grids are made from, by tensor: relative steps of the channels and the range of their values."""

    steps: dict[str, np.ndarray]
    carries: dict[str, Carry | None]
    lows: dict[str, np.ndarray]
    highs: dict[str, np.ndarray]

    def grids(self, coarseness: float) -> dict[str, Grid]:
        """Grids whose typical step is so many of the tensor's standard deviations."""
        return {
            name: Grid.around(steps * coarseness, self.lows[name], self.highs[name], self.carries[name])
            for name, steps in self.steps.items()
        }


def tune(
    boundary: Sequence[TensorSpec],
    tensors: Sequence[np.ndarray],
    scores: Callable[[Sequence[np.ndarray]], np.ndarray],
) -> Tuning:
    """Measure on the tensors (images, …, channels) of a sample; `scores` is the tail, giving (images, classes)."""
    few = [tensor[:_IMAGES] for tensor in tensors]
    tuning = Tuning({}, {}, {}, {})
    for place, spec in enumerate(boundary):
        if spec.datatype not in FLOATS or not tensors[place].size:
            continue
        channels = np.nan_to_num(tensors[place].astype(np.float64)).reshape(-1, (spec.shape or (1,))[-1])
        tuning.lows[spec.name], tuning.highs[spec.name] = channels.min(axis=0), channels.max(axis=0)
        typical = float(channels.std()) or 1.0
        reaches = np.maximum(channels.std(axis=0), typical / _WIDEST) / 2

        def moved(noise: np.ndarray, place: int = place) -> np.ndarray:
            there, back = (
                np.sqrt(scores([*few[:place], few[place] + way, *few[place + 1 :]])) for way in (noise, -noise)
            )
            moves: np.ndarray = np.nan_to_num((there - back) / 2)  # noise may lead where a model has no scores
            return moves

        alone = len(reaches) <= _MOST_ALONE
        carry, harm = _try_alone(few[place], reaches, moved) if alone else _try_groups(few[place], reaches, moved)
        tuning.steps[spec.name] = typical * np.clip(_relative(harm), 1 / _WIDEST, _WIDEST)
        tuning.carries[spec.name] = carry
    return tuning


_Moved = Callable[[np.ndarray], np.ndarray]


def _try_alone(few: np.ndarray, reaches: np.ndarray, moved: _Moved) -> tuple[Carry, np.ndarray]:
    """How errors are carried, and the harm that remains, from the same noise in one channel after the other."""
    pattern = np.random.default_rng(0).uniform(-1, 1, few.shape[:-1])
    moves = []
    for channel, reach in enumerate(reaches):
        noise = np.zeros_like(few)
        noise[..., channel] = pattern * reach
        moves.append(moved(noise))
    heard = np.array(moves, np.float64)  # for noise of each channel's own reach, so that scales do not matter
    halves = [_products(heard[:, start::2]) for start in (0, 1)]
    caution = min(_CAUTIONS, key=lambda caution: _surprise(halves, caution))
    return Carry.of(_careful(halves[0] + halves[1], caution) / np.outer(reaches, reaches))


def _products(moves: np.ndarray) -> np.ndarray:
    """The metric that moves (channels, images, classes) tell."""
    flat = moves.reshape(len(moves), math.prod(moves.shape[1:]))
    products: np.ndarray = flat @ flat.T
    return products


def _careful(metric: np.ndarray, caution: float) -> np.ndarray:
    careful: np.ndarray = metric + np.eye(len(metric)) * (caution * float(np.median(np.diag(metric))) or 1.0)
    return careful


def _surprise(halves: Sequence[np.ndarray], caution: float) -> float:
    """The harm that steps and shares by the metric of one half of the images do by that of the other, both ways,
    multiplied."""
    surprise = 1.0
    for told, other in (halves, halves[::-1]):
        carry, harm = Carry.of(_careful(told, caution))
        surprise *= carry.expect(_relative(harm), other)
    return surprise


def _relative(harm: np.ndarray) -> np.ndarray:
    """Steps for channels of which errors do this harm, of geometric mean 1."""
    wanted = 1 / np.sqrt(np.maximum(harm, harm.max() * 1e-6 or 1.0))
    relative: np.ndarray = wanted / np.exp(np.log(wanted).mean())
    return relative


def _try_groups(few: np.ndarray, reaches: np.ndarray, moved: _Moved) -> tuple[None, np.ndarray]:
    """The harm of channels, from noise in groups of them; what errors of two channels do together stays unknown."""
    chance = np.random.default_rng(0)
    harm = np.empty(len(reaches))
    for group in np.array_split(np.argsort(reaches, kind="stable"), _GROUPS):
        reach = reaches[group].mean()
        noise = np.zeros_like(few)
        noise[..., group] = chance.uniform(-reach, reach, noise[..., group].shape)
        harm[group] = np.square(moved(noise)).sum() / (len(group) * reach**2)
    return None, harm
