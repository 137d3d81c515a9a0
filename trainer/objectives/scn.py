"""Weigh, rank, relabel: SCN, which tells sure faces from uncertain ones.

Wang, Peng, Yang, Lu & Qiao 2020, "Suppressing Uncertainties for Large-Scale Facial Expression
Recognition" (CVPR), the Self-Cure Network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.baselines.resnet import ResNet18
from models.weights import ModelCard, State
from trainer.objectives.base import Batch
from trainer.objectives.softmax import SoftmaxObjective, part_of
from trainer.recipes import Recipe

OWN = -1
"""In place of a class: a face that learns its own votes."""


@dataclass(frozen=True)
class SCNBatch:
    """`top` share of a batch that counts as sure, and the `margin` by which its mean weight is to
    lead the others'. From epoch `relabel_from` (of 0) on, a face learns another class where that
    one's probability leads its own by more than `relabel_lead`. Numbers of the authors' code."""

    top: float = 0.7
    margin: float = 0.15
    relabel_from: int = 10
    relabel_lead: float = 0.2


class SCN(nn.Module):
    """A network, and beside its head a weight in 0..1 for each face."""

    def __init__(self, network: ResNet18) -> None:
        super().__init__()
        self.network = network
        self.weigh = nn.Linear(network.head.in_features, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Faces -> logits times the face's weight (n, K), and the weights (n,)."""
        maps = self.network.feature_maps(x)
        weights = torch.sigmoid(self.weigh(maps.mean(dim=(2, 3))).float())
        return weights * self.network.logits(maps).float(), weights[:, 0]


class SCNObjective(SoftmaxObjective):
    """Soft cross-entropy of logits times a face's weight (the paper's eq. 3), and
    the loss that ranks weights (eq. 4), one to one.

    Labels are votes here: a face's own class is the likeliest of them, and a relabelled face learns
    one class alone, until its lead is gone. What serves is the network by itself: a weight does not
    change which class is likeliest. A batch is ranked as a whole: train with one worker.
    """

    mixes_faces = True
    network: SCN

    def __init__(self, recipe: Recipe, card: ModelCard, **cure: float) -> None:
        super().__init__(recipe, card)
        self.cure = SCNBatch(**cure)  # type: ignore[arg-type]
        self._relabels = False
        network: ResNet18 = self.network  # type: ignore[assignment]
        self.network = SCN(network)

    def start_epoch(self, stage: str, epoch: int) -> None:
        """From its epoch on faces are labelled anew."""
        self._relabels = epoch >= self.cure.relabel_from

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """The loss of a batch; then, late enough, its faces are labelled anew."""
        logits, weights = self.network(batch.x)
        loss = functional.cross_entropy(logits, batch.targets)
        if self._relabels:
            votes = self.samples.votes[batch.rows.cpu()].to(logits.device)
            found = relabelled(logits.detach(), votes, self.cure.relabel_lead)
            self.samples.relabel(batch.rows, found)
        return loss + rank_loss(weights, self.cure.top, self.cure.margin)

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """The network's answers, without the weights."""
        answers: Tensor = self.network.network(x)
        return answers

    def serving_state(self, state: State) -> State:
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


OBJECTIVE = SCNObjective
