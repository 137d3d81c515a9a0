"""The seam between the loop, which knows no model, and the models, which know no loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from models.weights import State
from trainer.data.faceset import FaceSet


@dataclass(frozen=True)
class Batch:
    """Faces as a network is shown them: x (n, c, px, px), targets (n, K) shares, and for what is
    tied to places the maps (n, 2, 3) that x was warped by and the faces' rows (n,)."""

    x: Tensor
    targets: Tensor
    warps: Tensor
    rows: Tensor


class Objective(Protocol):
    """What is trained in each stage of a recipe, and what is kept of it at the end."""

    @property
    def network(self) -> nn.Module:
        """All that is trained, kept in the checkpoint and averaged."""
        ...

    def prepare(self, faces: FaceSet, run_dir: Path) -> None:
        """Take from `run_dir` what is known of the faces beyond what readers know."""
        ...

    def begin(self, stage: str) -> None:
        """Make ready for a stage that starts from the averaged weights of the one before."""
        ...

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """What the stage's optimiser moves: each must get a gradient at the first step."""
        ...

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar; the network is in training mode."""
        ...

    def told(self) -> dict[str, float]:
        """What the batches since it was last asked said beside their loss, by name."""
        ...

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """Answers (n, K) of the network, in evaluation mode, for faces (n, c, px, px) and their
        ids; None in a stage whose answers would say nothing."""
        ...

    def product(self, state: State) -> State:
        """The part of `network`'s state that serves."""
        ...
