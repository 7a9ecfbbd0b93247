"""The sensitivity of a model's scores to errors in each channel of a boundary, from which quantisation grids are made.

Noise is added to one channel of some images, and the change of the scores is measured by the Hellinger distance, which
rare classes do not dominate. Where errors of two channels add up, the same noise changes the scores in the same
direction. The products of the changes are therefore the metric by which errors are fed from channel to channel. For a
given number of bits the loss is least where a channel's step is proportional to one over the root of its remaining harm
(high-resolution theory: Gersho and Gray, Vector Quantization, 8.3).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.datatypes import FLOAT_DATATYPES
from hybrid_batch.inference.protocol.codecs.calibrated import Grid
from hybrid_batch.inference.protocol.codecs.error_feedback import ErrorFeedback

_IMAGES = 32
# Tensors with more channels are measured in groups of channels with similar deviation.
_MAX_SINGLE_CHANNELS, _GROUPS = 128, 64
# Candidates for the ridge, as multiples of the median harm, added to each channel's: a few images do not show all harm.
_RIDGES = (0.15, 0.5, 1.5, 5.0)
_MAX_RATIO = 16.0  # between a channel's step and the typical step


@dataclass(frozen=True, slots=True, eq=False)
class TensorSensitivity:
    """For the channels of a tensor: relative steps and the range of values, each (channels,), and the error feedback
    between channels, if it was measured."""

    steps: np.ndarray
    lows: np.ndarray
    highs: np.ndarray
    feedback: ErrorFeedback | None

    def grid(self, coarseness: float) -> Grid:
        """The grid whose typical step is `coarseness` standard deviations of the tensor."""
        return Grid.covering(self.steps * coarseness, self.lows, self.highs, self.feedback)


def measure_sensitivity(
    boundary: Sequence[TensorSpec],
    tensors: Sequence[np.ndarray],
    scores: Callable[[Sequence[np.ndarray]], np.ndarray],
) -> dict[str, TensorSensitivity]:
    """Measure, by tensor name, the sensitivity on the tensors (images, …, channels) of a sample.

    `scores` is the tail: boundary tensors to (images, classes). Integer tensors and empty ones are left out."""
    sample = [tensor[:_IMAGES] for tensor in tensors]
    sensitivities = {}
    for position, spec in enumerate(boundary):
        if spec.datatype not in FLOAT_DATATYPES or not tensors[position].size:
            continue
        channels = np.nan_to_num(tensors[position].astype(np.float64)).reshape(-1, (spec.shape or (1,))[-1])
        typical = float(channels.std()) or 1.0
        amplitudes = np.maximum(channels.std(axis=0), typical / _MAX_RATIO) / 2

        def response(noise: np.ndarray, position: int = position) -> np.ndarray:
            """The change of the scores' roots (images, classes) under noise, half of that between +noise and -noise."""
            up, down = (
                np.sqrt(scores([*sample[:position], sample[position] + signed, *sample[position + 1 :]]))
                for signed in (noise, -noise)
            )
            change: np.ndarray = np.nan_to_num((up - down) / 2)  # with noise the model may have no finite scores
            return change

        single = len(amplitudes) <= _MAX_SINGLE_CHANNELS
        measure = _measure_channels if single else _measure_groups
        feedback, harm = measure(sample[position], amplitudes, response)
        steps = typical * np.clip(_relative_steps(harm), 1 / _MAX_RATIO, _MAX_RATIO)
        sensitivities[spec.name] = TensorSensitivity(steps, channels.min(axis=0), channels.max(axis=0), feedback)
    return sensitivities


_Response = Callable[[np.ndarray], np.ndarray]


def _measure_channels(
    tensor: np.ndarray, amplitudes: np.ndarray, response: _Response
) -> tuple[ErrorFeedback | None, np.ndarray]:
    """The error feedback and the remaining harm (channels,), from the same noise in one channel after the other."""
    pattern = np.random.default_rng(0).uniform(-1, 1, tensor.shape[:-1])
    changes = []
    for channel, amplitude in enumerate(amplitudes):
        noise = np.zeros_like(tensor)
        noise[..., channel] = pattern * amplitude
        changes.append(response(noise))
    measured = np.array(changes, np.float64)  # with each channel's own amplitude, so that scales do not matter
    halves = [_metric(measured[:, start::2]) for start in (0, 1)]
    ridge = min(_RIDGES, key=lambda ridge: _cross_validated_harm(halves, ridge))
    return ErrorFeedback.from_metric(_regularise(halves[0] + halves[1], ridge) / np.outer(amplitudes, amplitudes))


def _measure_groups(tensor: np.ndarray, amplitudes: np.ndarray, response: _Response) -> tuple[None, np.ndarray]:
    """The harm (channels,) from noise in groups of channels; the interaction of channels is not measured."""
    random = np.random.default_rng(0)
    harm = np.empty(len(amplitudes))
    for group in np.array_split(np.argsort(amplitudes, kind="stable"), _GROUPS):
        amplitude = amplitudes[group].mean()
        noise = np.zeros_like(tensor)
        noise[..., group] = random.uniform(-amplitude, amplitude, noise[..., group].shape)
        harm[group] = np.square(response(noise)).sum() / (len(group) * amplitude**2)
    return None, harm


def _metric(changes: np.ndarray) -> np.ndarray:
    """The products (channels, channels) of the channels' changes (channels, images, classes)."""
    flat = changes.reshape(len(changes), math.prod(changes.shape[1:]))
    products: np.ndarray = flat @ flat.T
    return products


def _regularise(metric: np.ndarray, ridge: float) -> np.ndarray:
    regularised: np.ndarray = metric + np.eye(len(metric)) * (ridge * float(np.median(np.diag(metric))) or 1.0)
    return regularised


def _cross_validated_harm(halves: Sequence[np.ndarray], ridge: float) -> float:
    """The harm, by the metric of one half of the images, of steps and feedback from the other half; the product of
    both directions."""
    product = 1.0
    for fitted, held_out in (halves, halves[::-1]):
        feedback, harm = ErrorFeedback.from_metric(_regularise(fitted, ridge))
        product *= feedback.expected_harm(_relative_steps(harm), held_out)
    return product


def _relative_steps(harm: np.ndarray) -> np.ndarray:
    """Steps (channels,) of geometric mean 1 for channels whose errors do this harm."""
    steps = 1 / np.sqrt(np.maximum(harm, harm.max() * 1e-6 or 1.0))
    relative: np.ndarray = steps / np.exp(np.log(steps).mean())
    return relative
