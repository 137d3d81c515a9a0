"""What a frozen network makes of each training face as serving would show it to it: undegraded, not
warped, computed once a run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.inputs import CHUNK, build_inputs
from trainer.objectives.base import Batch


class CleanViews:
    """`compute` (n, c, px, px) -> (n, F) of all faces and of their horizontal flips, as inputs of
    the network with `card`."""

    def __init__(
        self,
        faces: FaceSet,
        card: ModelCard,
        compute: Callable[[Tensor], Tensor],
        device: str = "cpu",
    ) -> None:
        with torch.no_grad():
            parts = []
            for start in range(0, len(faces), CHUNK):
                x = build_inputs(faces[start : start + CHUNK], card).to(device)
                x = x.contiguous(memory_format=torch.channels_last)
                parts.append(torch.stack([compute(x), compute(x.flip(3))], dim=1))
        self._values = torch.cat(parts).float()

    def __call__(self, batch: Batch) -> Tensor:
        """Those of a batch's faces, flipped where the batch flips them: (n, F)."""
        device = self._values.device
        is_flipped = (batch.warps[:, 0, 0] < 0).long().to(device)
        return self._values[batch.rows.to(device), is_flipped].to(batch.x.device)
