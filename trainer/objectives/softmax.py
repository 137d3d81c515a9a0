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
    """The same in every stage."""

    def __init__(self, recipe: Recipe, card: ModelCard) -> None:
        self.network = build_network(card)

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Cross-entropy against the shares of the votes."""
        return functional.cross_entropy(self.network(batch.x).float(), batch.targets)

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """The network's own."""
        logits: Tensor = self.network(x)
        return logits


def part_of(state: State, prefix: str) -> State:
    """The part of a state whose names begin with `prefix` and a dot, without them."""
    start = f"{prefix}."
    return {name.removeprefix(start): v for name, v in state.items() if name.startswith(start)}


OBJECTIVE = SoftmaxObjective
