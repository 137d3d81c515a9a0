"""SCN, the Self-Cure Network: weights, ranks and relabels uncertain faces.

Wang, Peng, Yang, Lu & Qiao 2020, "Suppressing Uncertainties for Large-Scale Facial Expression
Recognition" (CVPR).
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
from trainer.objectives.softmax import SoftmaxObjective, select_prefix
from trainer.recipes import Recipe

VOTES = -1
"""In place of a class: a face that is trained on its own votes."""


@dataclass(frozen=True)
class SCNSettings:
    """`top`: share of a batch that counts as certain; `margin`: by how much its mean weight leads
    that of the others. From epoch `relabel_from` (of 0) on, a face is relabelled where another
    class is more probable than its own by more than `relabel_lead`. Defaults: the authors' code."""

    top: float = 0.7
    margin: float = 0.15
    relabel_from: int = 10
    relabel_lead: float = 0.2


class SCNNetwork(nn.Module):
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
    """Soft cross-entropy of logits times a face's weight (the paper's eq. 3), and the rank loss of
    the weights (eq. 4), one to one.

    Labels are votes here: a face's own class is the one with most of them, and a relabelled face is
    trained as one class, until that class leads no more. The network without the weights serves: a
    weight does not change which class is most probable. A batch is ranked as a whole: train with
    one worker.
    """

    takes_soft_labels = False
    network: SCNNetwork

    @classmethod
    def compares_faces(cls, recipe: Recipe) -> bool:
        """Their ranks."""
        return True

    def __init__(self, recipe: Recipe, card: ModelCard, **settings: float) -> None:
        super().__init__(recipe, card)
        self.settings = SCNSettings(**settings)  # type: ignore[arg-type]
        self._relabels = False
        network: ResNet18 = self.network  # type: ignore[assignment]
        self.network = SCNNetwork(network)

    def start_epoch(self, stage: str, epoch: int) -> None:
        """From epoch `relabel_from` on faces are relabelled."""
        self._relabels = epoch >= self.settings.relabel_from

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """The loss of a batch; late enough in training, its faces are then relabelled."""
        logits, weights = self.network(batch.x)
        loss = functional.cross_entropy(logits, batch.targets)
        if self._relabels:
            votes = self.samples.votes[batch.rows.cpu()].to(logits.device)
            classes = find_relabels(logits.detach(), votes, self.settings.relabel_lead)
            self.samples.relabel(batch.rows, classes)
        return loss + rank_loss(weights, self.settings.top, self.settings.margin)

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """The network's logits, without the weights."""
        logits: Tensor = self.network.network(x)
        return logits

    def serving_state(self, state: State) -> State:
        """The network without the weights."""
        return select_prefix(state, "network")


def rank_loss(weights: Tensor, top: float, margin: float) -> Tensor:
    """How far the mean of the `top` share of weights (n,) falls short of leading the mean of the
    others by `margin` (eq. 4)."""
    ordered = weights.sort(descending=True).values
    certain = max(int(top * len(weights)), 1)
    return (margin - (ordered[:certain].mean() - ordered[certain:].mean())).clamp(min=0)


def find_relabels(logits: Tensor, votes: Tensor, lead: float) -> Tensor:
    """(n,) the most probable class where it leads the votes' own by more than `lead`, else
    VOTES."""
    p = torch.softmax(logits, dim=1)
    own = p.gather(1, votes.argmax(dim=1, keepdim=True))[:, 0]
    highest, classes = p.max(dim=1)
    return torch.where(highest - own > lead, classes, VOTES)


OBJECTIVE = SCNObjective
