"""Weigh, rank, relabel: the rival SCN, which tells sure faces from uncertain ones.

Wang, Peng, Yang, Lu & Qiao 2020, "Suppressing Uncertainties for Large-Scale Facial Expression
Recognition" (CVPR), the Self-Cure Network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.baselines.resnet import ResNet18
from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch
from trainer.objectives.softmax import SoftmaxObjective, part_of
from trainer.recipes import Recipe

OWN = -1
"""In the table of new labels: a face that learns its own votes."""


@dataclass(frozen=True)
class Cure:
    """`top` share of a batch that counts as sure, and the `margin` by which its mean weight is to
    lead the others'. From epoch `relabel_from` (of 0) on, a face learns another class where that
    one's probability leads its own by more than `relabel_lead`. Numbers of the authors' code."""

    top: float = 0.7
    margin: float = 0.15
    relabel_from: int = 10
    relabel_lead: float = 0.2


class SelfCuring(nn.Module):
    """A network, a weight in 0..1 for each face, and what the faces' labels have become.

    `relabelled` (faces,) int64 holds a class or OWN; `steps` counts the batches that were seen.
    """

    relabelled: Tensor
    steps: Tensor

    def __init__(self, network: ResNet18) -> None:
        super().__init__()
        self.network = network
        self.weigh = nn.Linear(network.head.in_features, 1)
        self.register_buffer("relabelled", torch.empty(0, dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Faces -> logits times the face's weight (n, K), and the weights (n,)."""
        maps = self.network.maps(x)
        weights = torch.sigmoid(self.weigh(maps.mean(dim=(2, 3))).float())
        return weights * self.network.answers(maps).float(), weights[:, 0]


class SCNObjective(SoftmaxObjective):
    """An `Objective`: soft cross-entropy of logits times a face's weight (the paper's eq. 3), and
    the loss that ranks weights (eq. 4), one to one.

    Labels are votes here: a face's own class is the likeliest of them, and a relabelled face learns
    one class alone, until its lead is gone. What serves is the network by itself: a weight does not
    change which class is likeliest. A batch is ranked as a whole: train with one worker.
    """

    network: SelfCuring

    def __init__(self, recipe: Recipe, card: ModelCard, **cure: float) -> None:
        super().__init__(recipe, card)
        self.cure = Cure(**cure)  # type: ignore[arg-type]
        self._batch = recipe.stages[0].batch
        network: ResNet18 = self.network  # type: ignore[assignment]
        self.network = SelfCuring(network)

    def prepare(self, faces: FaceSet, run_dir: Path) -> None:
        """A table of new labels for these faces."""
        self._first_step = self.cure.relabel_from * (len(faces) // self._batch)
        device = self.network.steps.device
        self.network.relabelled = torch.full((len(faces),), OWN, device=device)

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """The loss of a batch; then, late enough, its faces are labelled anew."""
        logits, weights = self.network(batch.x)
        loss = functional.cross_entropy(logits, self.targets(batch))
        if int(self.network.steps) >= self._first_step:
            found = relabelled(logits.detach(), batch.targets, self.cure.relabel_lead)
            self.network.relabelled[batch.rows] = found
        self.network.steps += 1
        return loss + rank_loss(weights, self.cure.top, self.cure.margin)

    def targets(self, batch: Batch) -> Tensor:
        """What each face is to learn (n, K): its votes, or its new class."""
        new = self.network.relabelled[batch.rows]
        one_class = functional.one_hot(new.clamp(min=0), batch.targets.shape[1])
        return torch.where(new[:, None] == OWN, batch.targets, one_class.to(batch.targets.dtype))

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """The network's answers, without the weights."""
        answers: Tensor = self.network.network(x)
        return answers

    def product(self, state: State) -> State:
        """The network by itself."""
        return part_of(state, "network")


def rank_loss(weights: Tensor, top: float, margin: float) -> Tensor:
    """How much the mean of the `top` share of weights (n,) falls short of leading the mean of the
    others by `margin` (eq. 4)."""
    ordered = weights.sort(descending=True).values
    sure = max(int(top * len(weights)), 1)
    return (margin - (ordered[:sure].mean() - ordered[sure:].mean())).clamp(min=0)


def relabelled(logits: Tensor, votes: Tensor, lead: float) -> Tensor:
    """(n,) the likeliest class where it leads the votes' own by more than `lead`, else OWN."""
    p = torch.softmax(logits, dim=1)
    own = p.gather(1, votes.argmax(dim=1, keepdim=True))[:, 0]
    most, likeliest = p.max(dim=1)
    return torch.where(most - own > lead, likeliest, OWN)
