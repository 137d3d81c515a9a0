"""What networks that learn from noisy faces share: noise levels, and the clean twin's teacher."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from models.emodc.noise import LEAST_SIGMA, MOST_SIGMA
from models.weights import ModelCard
from trainer.errors import DataError
from trainer.objectives.base import Batch
from trainer.objectives.lrdif_twin import open_twin_teacher
from trainer.recipes import Recipe

NEARLY_CLEAN = 0.3
"""Share of the faces with noise between LEAST_SIGMA and CLEAN_SIGMA: they keep the clean accuracy,
the noisier ones give the robustness."""
CLEAN_SIGMA = 0.02


def sample_sigmas(n: int, device: torch.device | str = "cpu") -> Tensor:
    """Noise levels (n,) of a batch: log-uniform from CLEAN_SIGMA to MOST_SIGMA, of the share
    NEARLY_CLEAN below."""
    is_clean = torch.rand(n, device=device) < NEARLY_CLEAN
    low = torch.where(is_clean, LEAST_SIGMA, CLEAN_SIGMA)
    high = torch.where(is_clean, CLEAN_SIGMA, MOST_SIGMA)
    return low * (high / low) ** torch.rand(n, device=device)


def with_noise(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Faces (n, c, h, w) at noise levels (n,), and the noise eps in them."""
    eps = torch.randn_like(x)
    return x + sigma[:, None, None, None] * eps, eps


class TwinTeacher:
    """A clean-trained ResNet-18 that classifies the clean twins of a batch; frozen, part of no
    checkpoint. Without a name it is none, and adds nothing to a loss.

    Raises as `open_twin_teacher`, and DataError for a recipe without the clean twin.
    """

    def __init__(self, name: str, weight: float, recipe: Recipe, card: ModelCard) -> None:
        self._weight, self._px = weight, card.input_px
        self._network = open_twin_teacher(name, card) if name else None
        if name and not recipe.clean_twin:
            raise DataError("a recipe without clean_twin", card.name, "set it, or name no teacher")

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """`weight` times the divergence of softmax(logits) (n, K) from what the teacher predicts of
        the clean twins, 0 without a teacher."""
        if self._network is None or batch.clean is None:
            return logits.new_zeros(())
        with torch.no_grad():
            clean = batch.clean
            if clean.shape[-1] != self._px:
                clean = functional.interpolate(clean, size=(self._px,) * 2, mode="bilinear")
            predicted = torch.log_softmax(self._network.to(clean.device)(clean).float(), dim=1)
        ours = torch.log_softmax(logits.float(), dim=1)
        divergence = functional.kl_div(ours, predicted, reduction="batchmean", log_target=True)
        return self._weight * divergence


def quarter_of(sigma: Tensor) -> Tensor:
    """Which quarter of the noise levels, evenly in log sigma, 0 to 3: for training metrics."""
    place = torch.log(sigma / LEAST_SIGMA) / math.log(MOST_SIGMA / LEAST_SIGMA)
    return (place * 4).long().clamp(0, 3)
