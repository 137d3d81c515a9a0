"""What networks that learn from noisy faces share: noise levels, and a teacher of clean ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from models.emodc.noise import LEAST_SIGMA, MOST_SIGMA
from models.weights import ModelCard
from trainer.clean_views import CleanViews
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch
from trainer.objectives.lrdif.lrdif_twin import open_twin_teacher

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


class CleanTeacher:
    """A clean-trained ResNet-18 of what it predicts of the faces as they are, without display and
    noise; frozen, part of no checkpoint. Without a name it is none, and adds nothing to a loss.

    Raises as `open_twin_teacher`.
    """

    def __init__(self, name: str, weight: float, card: ModelCard) -> None:
        self._weight, self._card = weight, card
        self._network = open_twin_teacher(name, card) if name else None
        self._views: CleanViews | None = None

    def prepare(self, faces: FaceSet, device: torch.device) -> None:
        """What it predicts of all faces."""
        if self._network is not None:
            self._views = CleanViews(faces, self._card, self._network.to(device), str(device))

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """`weight` times the divergence of softmax(logits) (n, K) from what the teacher predicts of
        the clean faces, 0 without a teacher."""
        if self._views is None:
            return logits.new_zeros(())
        predicted = torch.log_softmax(self._views(batch), dim=1)
        ours = torch.log_softmax(logits.float(), dim=1)
        divergence = functional.kl_div(ours, predicted, reduction="batchmean", log_target=True)
        return self._weight * divergence


def quarter_of(sigma: Tensor) -> Tensor:
    """Which quarter of the noise levels, evenly in log sigma, 0 to 3: for training metrics."""
    place = torch.log(sigma / LEAST_SIGMA) / math.log(MOST_SIGMA / LEAST_SIGMA)
    return (place * 4).long().clamp(0, 3)
