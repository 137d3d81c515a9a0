"""Network outputs to EmotionScores: logits, logits of several draws, or denoising errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.crops import Crops
from models.errors import ModelError
from models.model_input import to_model_input
from models.scores import EmotionScores, Float32, normalised_entropy
from models.weights import ModelCard

Logits = Callable[[Tensor, NDArray[np.int64], int], Tensor]
"""(model input (n, c, px, px), ids (n,), number of the draw) -> logits (n, K)."""
Flip = bool | Literal["uncertain"]
"""Whether logits are averaged with those of the horizontal flip: of all faces, none, or those whose
label that may change."""
UNCERTAIN = "uncertain"
LEAD = 0.5
"""Lead of the likeliest class over the next, in probability, from which on a face is not flipped: a
fifth of the validation cut's faces are, and 99.9 % get the label of flipping all (docs/LOG.md)."""


def probabilities_from_logits(logits: Tensor, temperature: float) -> Float32:
    """Logits (..., K) -> calibrated probabilities (..., K) float32: softmax at the temperature of
    `trainer.calibration` (Guo et al. 2017, arXiv 1706.04599)."""
    probabilities: Float32 = torch.softmax(logits.float() / temperature, dim=-1).cpu().numpy()
    return probabilities


def scores_from_draws(probabilities: Float32) -> EmotionScores:
    """Probabilities (draws, n, K), 1 draw or more -> their mean, and its normalised entropy."""
    mean: Float32 = probabilities.mean(axis=0)
    return EmotionScores(mean, normalised_entropy(mean))


def logits_from_errors(errors: Tensor, weights: Tensor) -> Tensor:
    """Errors (draws, n, K) of a denoiser conditioned on each class in turn -> logits (n, K).

    The class under which the noise is predicted best is the likeliest (diffusion classifier, Li et
    al. 2023, arXiv 2303.16203): minus the sum of the errors, each draw (a timestep, its noise) by
    its weight, (draws,), 0 or more.
    """
    return -torch.einsum("d,dnk->nk", weights.to(errors), errors)


class SoftmaxClassifier:
    """An `EmotionClassifier`. With `flip`, logits of a crop and its horizontal flip are averaged;
    with "uncertain" only where the crop alone leaves a class less than LEAD ahead of the next.

    `dtype` bfloat16 computes in it where torch's autocast does; see `models.precision` first: on
    some processors that ends the process.
    """

    draws = 1
    """Predictions per face, each with other random numbers."""

    def __init__(
        self,
        network: nn.Module,
        card: ModelCard,
        flip: Flip = True,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.card = card
        averaged = f"-flip-{UNCERTAIN}" if flip == UNCERTAIN else "-flip" * bool(flip)
        self.mode = card.model + averaged + "-bf16" * (dtype == torch.bfloat16)
        self._network = network.eval().to(device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._flip, self._device, self._dtype = flip, device, dtype

    def predict(self, crops: Crops, ids: NDArray[np.int64] | None = None) -> EmotionScores:
        """Probabilities, the mean over the draws, and their normalised entropy; without `ids` every
        face has id 0. Raises ModelError as `predict_draws` does."""
        return scores_from_draws(self.predict_draws(crops, ids))

    def predict_draws(self, crops: Crops, ids: NDArray[np.int64] | None = None) -> Float32:
        """Probabilities of each draw: (draws, n, K) float32.

        Raises ModelError for crops of another shape, and for scores that are not numbers;
        ValueError for other than one id a crop.
        """
        return self._score(crops, ids, self.logits)

    def _score(self, crops: Crops, ids: NDArray[np.int64] | None, logits: Logits) -> Float32:
        """Calibrated probabilities (draws, n, K) of what `logits` gives for crops."""
        if len(crops) == 0:
            return np.zeros((self.draws, 0, len(self.card.labels)), np.float32)
        ids = np.zeros(len(crops), np.int64) if ids is None else ids
        if ids.shape != (len(crops),):
            raise ValueError(f"ids: expected ({len(crops)},), got {ids.shape}")
        x = to_model_input(crops, self.card, self._device)
        kind, is_other = torch.device(self._device).type, self._dtype != torch.float32
        with torch.inference_mode(), torch.autocast(kind, self._dtype, enabled=is_other):
            drawn = torch.stack([logits(x, ids, draw) for draw in range(self.draws)])
        scores = probabilities_from_logits(drawn, self.card.temperature)
        if not np.isfinite(scores).all():
            raise ModelError("scores are not numbers", self.card.name, "use other weights")
        return scores

    def logits(self, x: Tensor, ids: NDArray[np.int64] | None = None, draw: int = 0) -> Tensor:
        """Model input (n, c, px, px) -> logits (n, K) float32, with horizontal-flip TTA where
        `flip` is set; `ids` (n,) and `draw` seed what is drawn at random: here, nothing."""
        if self._flip != UNCERTAIN:
            return self._average_flip(x, self._network)
        x = x.contiguous(memory_format=torch.channels_last)
        found = self._network(x).float()
        best = (found / self.card.temperature).softmax(dim=1).topk(2, dim=1).values
        rows = torch.nonzero(best[:, 0] - best[:, 1] < LEAD)[:, 0]
        if len(rows):
            flipped = x[rows].flip(3).contiguous(memory_format=torch.channels_last)
            found[rows] = (found[rows] + self._network(flipped).float()) / 2
        return found

    def _average_flip(self, x: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        logits = network(x).float()
        return (logits + network(x.flip(3)).float()) / 2 if self._flip else logits
