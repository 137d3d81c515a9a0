"""One forward, soft cross-entropy: every discriminative network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.loading import build_network
from models.weights import ModelCard, State
from trainer.objectives.base import Batch, Objective
from trainer.recipes import Recipe


class SoftmaxObjective(Objective):
    """Soft cross-entropy of the whole network, in every stage."""

    takes_soft_labels = True

    def __init__(self, recipe: Recipe, card: ModelCard) -> None:
        self.network = build_network(card)

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Cross-entropy against the targets, and against soft labels at their temperature."""
        logits = self.network(batch.x).float()
        loss = functional.cross_entropy(logits, batch.targets)
        soft = batch.soft_labels
        if soft is None:
            return loss
        distilled = functional.cross_entropy(logits / soft.temperature, soft.probabilities)
        # Times the temperature's square: gradients at a temperature shrink by as much, and the
        # weight would mean something else at each (Hinton et al. 2015, section 2).
        return torch.lerp(loss, soft.temperature**2 * distilled, soft.weight)

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """The network's output."""
        logits: Tensor = self.network(x)
        return logits


def select_prefix(state: State, prefix: str) -> State:
    """The tensors whose names begin with `prefix` and a dot, without the prefix."""
    start = f"{prefix}."
    return {name.removeprefix(start): v for name, v in state.items() if name.startswith(start)}


OBJECTIVE = SoftmaxObjective
