"""One forward, soft cross-entropy: every discriminative network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.loading import build_network
from models.weights import ModelCard, State
from trainer.objectives.base import Batch, Objective
from trainer.recipes import Recipe


class SoftmaxObjective(Objective):
    """Soft cross-entropy of the whole network, in every stage."""

    def __init__(self, recipe: Recipe, card: ModelCard) -> None:
        self.network = build_network(card)

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Cross-entropy against the targets."""
        return functional.cross_entropy(self.network(batch.x).float(), batch.targets)

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """The network's output."""
        logits: Tensor = self.network(x)
        return logits


def select_prefix(state: State, prefix: str) -> State:
    """The tensors whose names begin with `prefix` and a dot, without the prefix."""
    start = f"{prefix}."
    return {name.removeprefix(start): v for name, v in state.items() if name.startswith(start)}


OBJECTIVE = SoftmaxObjective
