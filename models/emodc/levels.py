"""At which noise levels a face is evaluated, by its quality: a table of noise and sharpness.

Low levels carry the clean accuracy and know nothing of a noisy face; of a blurred one, whose fine
detail is gone, they know little either. Where the even levels serve every face alike, this table
has levels and weights of its own for each of 3 x 3 qualities, fitted on corrupted validation faces
(`trainer.objectives.emodc.weights`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.emodc.noise import estimate_own_noise

PARTS = 3
"""Terciles of the noise, and of the sharpness."""
FINE, COARSE = 2, 4
"""Pixels along a side of the means between which detail is fine, and above which it is coarse."""


class QualityLevels(nn.Module):
    """Noise levels and their weights, (PARTS^2, steps) each, and the `edges` (2, PARTS - 1) between
    terciles of noise and of sharpness; all zero until they were fitted."""

    edges: Tensor
    levels: Tensor
    weights: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.register_buffer("edges", torch.zeros(2, PARTS - 1))
        self.register_buffer("levels", torch.zeros(PARTS**2, steps))
        self.register_buffer("weights", torch.zeros(PARTS**2, steps))

    @property
    def is_fitted(self) -> bool:
        """Whether it holds levels."""
        return bool(self.levels.any())

    def find_cells(self, x: Tensor) -> Tensor:
        """The row (n,) int64 of each face (n, c, h, w): its tercile of the noise times PARTS, and
        that of the sharpness."""
        terciles = [
            (values[:, None] > edges.to(values)).sum(dim=1)
            for values, edges in zip(measure_quality(x), self.edges, strict=True)
        ]
        return terciles[0] * PARTS + terciles[1]


def measure_quality(x: Tensor) -> tuple[Tensor, Tensor]:
    """Noise, as `estimate_own_noise`, and sharpness, 0..1, (n,) each, of faces (n, c, h, w): the
    share of detail of 2 to 4 pixels in the energy of all that is coarser than that, each without
    what white noise has of it.

    A share does not change with brightness or contrast. Height and width are multiples of COARSE.
    """
    luma = x.float().mean(dim=1, keepdim=True)
    noise = estimate_own_noise(luma)
    fine, coarse = functional.avg_pool2d(luma, FINE), functional.avg_pool2d(luma, COARSE)
    detail = fine - functional.interpolate(coarse, fine.shape[2:], mode="nearest")
    shape = coarse - coarse.mean(dim=(2, 3), keepdim=True)
    # A mean over m pixels has 1 / m of the noise's variance.
    of_detail = noise.square() * (FINE**-2 - COARSE**-2)
    of_shape = noise.square() * COARSE**-2
    energies = (part.square().mean(dim=(1, 2, 3)) for part in (detail, shape))
    detailed, shaped = (
        (energy - share).clamp(min=0)
        for energy, share in zip(energies, (of_detail, of_shape), strict=True)
    )
    return noise, detailed / (shaped + detailed).clamp(min=1e-9)
