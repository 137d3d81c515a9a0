"""One forward, soft cross-entropy: every discriminative network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.loading import build_network
from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch
from trainer.recipes import Recipe


class SoftmaxObjective:
    """An `Objective` that is the same in every stage."""

    def __init__(self, recipe: Recipe, card: ModelCard) -> None:
        self.network = build_network(card)

    def prepare(self, faces: FaceSet, run_dir: Path) -> None:
        """Nothing more to know."""

    def begin(self, stage: str) -> None:
        """Nothing to make ready."""

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """All that can move: a part that is fixed by its network stays fixed."""
        return [value for value in self.network.parameters() if value.requires_grad]

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Cross-entropy against the shares of the votes."""
        return functional.cross_entropy(self.network(batch.x).float(), batch.targets)

    def told(self) -> dict[str, float]:
        """Nothing beside the loss."""
        return {}

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """The network's answers."""
        answers: Tensor = self.network(x)
        return answers

    def product(self, state: State) -> State:
        """All of it."""
        return state


def part_of(state: State, prefix: str) -> State:
    """The part of a state whose names begin with `prefix` and a dot, without them."""
    start = f"{prefix}."
    return {name.removeprefix(start): v for name, v in state.items() if name.startswith(start)}
