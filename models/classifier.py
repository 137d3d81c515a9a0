"""The door that every expression model stands behind."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.crops import Crops
from models.scores import EmotionScores
from models.weights import ModelCard


class EmotionClassifier(Protocol):
    """Crops in, scores out. `mode` names the way of asking, as it stands in the events."""

    card: ModelCard
    mode: str

    def predict(self, crops: Crops, ids: NDArray[np.int64] | None = None) -> EmotionScores:
        """Score crops (n, 112, 112, 3) uint8 RGB; n may be 0.

        `ids` (n,) seed what a model draws at random, so that the same face with the same id scores
        the same in any batch; a model that draws nothing ignores them.
        """
        ...
