"""A discriminative network behind the classifier's door: one forward, softmax at a temperature."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.crops import Crops
from models.errors import ModelError
from models.model_input import to_model_input
from models.scores import EmotionScores, Float32, normalised_entropy
from models.weights import ModelCard


class SoftmaxClassifier:
    """An `EmotionClassifier`. With `flip`, logits of a crop and its mirror image are averaged.

    `dtype` bfloat16 computes in it where torch's autocast does; see `models.precision` first: on
    some processors that ends the process.
    """

    draws = 1
    """How often a face is asked about, each time with other random numbers."""

    def __init__(
        self,
        network: nn.Module,
        card: ModelCard,
        flip: bool = True,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.card = card
        self.mode = card.model + "-flip" * flip + "-bf16" * (dtype == torch.bfloat16)
        self._network = network.eval().to(device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._flip, self._device, self._dtype = flip, device, dtype

    def predict(self, crops: Crops, ids: NDArray[np.int64] | None = None) -> EmotionScores:
        """Probabilities, the mean over the draws, and their normalised entropy; without `ids` every
        face has id 0. Raises ModelError as `said` does."""
        scores = self.said(crops, ids).mean(axis=0)
        return EmotionScores(scores, normalised_entropy(scores))

    def said(self, crops: Crops, ids: NDArray[np.int64] | None = None) -> Float32:
        """Probabilities of each draw: (draws, n, K) float32.

        Raises ModelError for crops of another shape, and for scores that are not numbers;
        ValueError for other than one id a crop.
        """
        if len(crops) == 0:
            return np.zeros((self.draws, 0, len(self.card.labels)), np.float32)
        ids = np.zeros(len(crops), np.int64) if ids is None else ids
        if ids.shape != (len(crops),):
            raise ValueError(f"ids: expected ({len(crops)},), got {ids.shape}")
        x = to_model_input(crops, self.card, self._device)
        kind, is_other = torch.device(self._device).type, self._dtype != torch.float32
        with torch.inference_mode(), torch.autocast(kind, self._dtype, enabled=is_other):
            logits = torch.stack([self.logits(x, ids, draw) for draw in range(self.draws)])
        scores = torch.softmax(logits / self.card.temperature, dim=2).cpu().numpy()
        if not np.isfinite(scores).all():
            raise ModelError("scores are not numbers", self.card.name, "use other weights")
        return scores

    def logits(self, x: Tensor, ids: NDArray[np.int64] | None = None, draw: int = 0) -> Tensor:
        """Model input (n, c, px, px) -> logits (n, K) float32, averaged over the mirror image if
        asked; `ids` (n,) and `draw` seed what is drawn at random: here, nothing."""
        return self._averaged(x, self._network)

    def _averaged(self, x: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        logits = network(x).float()
        return (logits + network(x.flip(3)).float()) / 2 if self._flip else logits
