"""Expression classifiers and their predictions, independent of model, device and process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.crops import Crops

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class EmotionScores:
    """Predictions for n crops.

    probabilities (n, K) float32, rows sum to 1, columns in the order of the card's labels;
    uncertainty (n,) float32 in 0 (sure) .. 1 (no idea).
    """

    probabilities: Float32
    uncertainty: Float32

    def __post_init__(self) -> None:
        n = len(self.probabilities)
        if self.probabilities.ndim != 2 or self.uncertainty.shape != (n,):
            raise ValueError(
                f"expected (n, K) and (n,), got {self.probabilities.shape} "
                f"and {self.uncertainty.shape}"
            )

    def __len__(self) -> int:
        return len(self.probabilities)


class EmotionClassifier(Protocol):
    """Crops in, scores out. `mode` names model, test-time augmentation and precision in events."""

    card: ModelCard
    mode: str

    def predict(self, crops: Crops, ids: NDArray[np.int64] | None = None) -> EmotionScores:
        """Scores of crops (n, 112, 112, 3) uint8 RGB; n may be 0.

        `ids` (n,) seed a model's random draws, so that the same face with the same id gets the same
        scores in any batch; a model that draws nothing ignores them.
        """
        ...


def normalised_entropy(probabilities: Float32) -> Float32:
    """Entropy of each row over its maximum, log K: (n, K) -> (n,) in 0..1.

    >>> normalised_entropy(np.float32([[0.5, 0.5], [1.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    p = np.maximum(probabilities, 1e-12)
    entropy = (probabilities * -np.log(p)).sum(axis=1) / np.log(probabilities.shape[1])
    clipped: Float32 = np.clip(entropy, 0, 1).astype(np.float32)
    return clipped


def mutual_information(each: Float32) -> Float32:
    """Uncertainty that comes from the draws alone: (draws, n, K) -> (n,) in 0..1, the entropy of
    their mean less the mean of their entropies, over log K.

    >>> mutual_information(np.float32([[[1.0, 0.0]], [[0.0, 1.0]]])).tolist()
    [1.0]
    """
    own = np.stack([normalised_entropy(draw) for draw in each]).mean(axis=0)
    found: Float32 = np.maximum(normalised_entropy(each.mean(axis=0)) - own, 0).astype(np.float32)
    return found
