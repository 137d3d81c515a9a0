"""A discriminative network behind the classifier's door: one forward, softmax at a temperature."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.crops import Crops
from models.errors import ModelError
from models.model_input import to_model_input
from models.scores import EmotionScores, normalised_entropy
from models.weights import ModelCard


class SoftmaxClassifier:
    """An `EmotionClassifier`. With `flip`, logits of a crop and its mirror image are averaged."""

    def __init__(
        self, network: nn.Module, card: ModelCard, flip: bool = True, device: str = "cpu"
    ) -> None:
        self.card = card
        self.mode = f"{card.model}-flip" if flip else card.model
        self._network = network.eval().to(device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._flip = flip
        self._device = device

    def predict(self, crops: Crops, ids: NDArray[np.int64] | None = None) -> EmotionScores:
        """Probabilities and their normalised entropy; `ids` are not needed here."""
        if len(crops) == 0:
            none = np.zeros((0, len(self.card.labels)), np.float32)
            return EmotionScores(none, none[:, 0])
        with torch.inference_mode():
            logits = self.logits(to_model_input(crops, self.card, self._device))
            scores = torch.softmax(logits / self.card.temperature, dim=1).cpu().numpy()
        if not np.isfinite(scores).all():
            raise ModelError("scores are not numbers", self.card.name, "use other weights")
        return EmotionScores(scores, normalised_entropy(scores))

    def logits(self, x: Tensor, ids: NDArray[np.int64] | None = None) -> Tensor:
        """Model input (n, c, px, px) -> logits (n, K), averaged over the mirror image if asked."""
        x = x.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self._network(x)
        if self._flip:
            logits = (logits + self._network(x.flip(3))) / 2
        return logits
