"""Scores: the model's output as one probability per class."""

import numpy as np

from hybrid_batch.inference.model.bundle import Bundle


def to_scores(bundle: Bundle, output: np.ndarray) -> np.ndarray:
    """Convert the model's output (batch, outputs) to scores (batch, classes).

    Logits pass a softmax, or a sigmoid if there is one output. One output is the score of the second of two classes."""
    if bundle.output.elements == 1:
        positive = output if bundle.output_kind == "probabilities" else 1 / (1 + np.exp(-output))
        return np.concatenate([1 - positive, positive], axis=1)
    if bundle.output_kind == "probabilities":
        return output
    raised = np.exp(output - output.max(axis=1, keepdims=True))
    scores: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return scores
