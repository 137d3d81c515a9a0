"""The emotion prior representation Z: made in stage 1, restored in stage 2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.diffusion import Diffusion

HIDDEN = 128
SLOPE = 0.1
RESTORERS = ("diffusion", "mlp", "none")


class FPEN(nn.Sequential):
    """Feature prior extraction network: (n, features) -> (n, size) (eq. 1 and 15)."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__(
            nn.Linear(features, HIDDEN),
            nn.LeakyReLU(SLOPE),
            nn.Linear(HIDDEN, size),
            nn.LeakyReLU(SLOPE),
        )


def epr_norm(z: Tensor) -> Tensor:
    """Each Z (n, C) to mean 0 and variance 1: unscaled, a Z grows until Z_T tells the label."""
    return functional.layer_norm(z, [int(z.shape[-1])])


class Denoiser(nn.Module):
    """Predicts what `Diffusion.param` names from Z_t, the step and the face's condition vector."""

    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        self._steps = steps
        self.layers = nn.Sequential(
            nn.Linear(2 * size + 1, size), nn.LeakyReLU(SLOPE), nn.Linear(size, size)
        )

    def forward(self, condition: Tensor, z: Tensor, t: int) -> Tensor:
        place = z.new_full((z.shape[0], 1), (t - 1) / (10 * self._steps))
        predicted: Tensor = self.layers(torch.cat([condition, place, z], dim=1))
        return predicted


class PriorRestorer(nn.Module):
    """Restores Z of a face from its image alone: features (n, F) and a start Z_T (n, C).

    `restorer` is `diffusion`; or a control that ignores Z_T: `mlp`, a plain regressor with as many
    parameters, or `none`, the condition vector itself.
    """

    def __init__(
        self,
        features: int,
        size: int,
        diffusion: Diffusion,
        norm: bool = True,
        restorer: str = "diffusion",
    ) -> None:
        super().__init__()
        if restorer not in RESTORERS:
            raise ValueError(f"restorer {restorer!r}: give one of {', '.join(RESTORERS)}")
        self.size, self.diffusion = size, diffusion
        self.fpen = FPEN(features, size)
        self._norm = epr_norm if norm else nn.Identity()
        self.denoiser = Denoiser(size, diffusion.steps) if restorer == "diffusion" else None
        self.regressor = None
        if restorer == "mlp":
            self.regressor = nn.Sequential(
                nn.Linear(size, size),
                nn.LeakyReLU(SLOPE),
                nn.Linear(size, size),
                nn.LeakyReLU(SLOPE),
                nn.Linear(size, size),
            )

    def forward(
        self,
        features: Tensor,
        start: Tensor,
        noises: Sequence[Tensor] = (),
        levels: Tensor | None = None,
    ) -> Tensor:
        """`levels` (n,) int64 in 1..T: the step that each face's `start` stands at, not T."""
        condition = self.fpen(features)
        if self.denoiser is None:
            z = condition if self.regressor is None else self.regressor(condition)
            return self._norm(z)
        denoiser, predicts_z = self.denoiser, self.diffusion.param == "x0"

        def predict(z: Tensor, t: int) -> Tensor:
            predicted: Tensor = denoiser(condition, z, t)
            return self._norm(predicted) if predicts_z else predicted

        z = self.diffusion.reverse(start, predict, noises, levels)
        return z if predicts_z else self._norm(z)
