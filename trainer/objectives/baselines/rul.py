"""RUL, Relative Uncertainty Learning: uncertainty from mixed pairs of faces.

Zhang, Wang & Deng 2021, "Relative Uncertainty Learning for Facial Expression Recognition"
(NeurIPS). The features of two faces are mixed, and both must still be recognised: the harder face
needs the larger share, and shares are given by the predicted uncertainty.
"""

from __future__ import annotations

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

SIZE = 64
"""Features of the mean and of the variance."""


class RULNetwork(nn.Module):
    """A network with a head in two parts: to a `mean` (n, 64), and from there to classes; in
    training also to the logarithm of a variance (n, 64)."""

    def __init__(self, network: ResNet18) -> None:
        super().__init__()
        features, classes = network.head.in_features, network.head.out_features
        network.head = nn.Identity()  # type: ignore[assignment]
        self.network = network
        self.mean, self.log_variance = (
            nn.Sequential(nn.Linear(features, SIZE), nn.BatchNorm1d(SIZE)) for _ in range(2)
        )
        self.classify = nn.Linear(SIZE, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, K) of the means."""
        logits: Tensor = self.classify(self.mean(self.network(x)))
        return logits


class RULObjective(SoftmaxObjective):
    """Cross-entropy of features mixed by uncertainty, against both faces' votes, half and half.

    All parts have one learning rate: they start from random weights together, where the paper's
    network was pretrained. In evaluation the two linear layers and the norm between them are one
    linear map, so a plain network serves. Pairs are sampled within a batch: train with one worker.
    """

    takes_soft_labels = False
    network: RULNetwork

    @classmethod
    def compares_faces(cls, recipe: Recipe) -> bool:
        """Pairs of them."""
        return True

    def __init__(self, recipe: Recipe, card: ModelCard) -> None:
        super().__init__(recipe, card)
        network: ResNet18 = self.network  # type: ignore[assignment]
        self.network = RULNetwork(network)

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Cross-entropy of every face mixed with another one."""
        features = self.network.network(batch.x)
        mean, log_variance = self.network.mean(features), self.network.log_variance(features)
        other = torch.randperm(len(batch.x), device=batch.x.device)
        logits = self.network.classify(mix_features(mean, log_variance, other)).float()
        targets = (batch.targets + batch.targets[other]) / 2
        return functional.cross_entropy(logits, targets)

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """The logits of the means."""
        logits: Tensor = self.network(x)
        return logits

    def serving_state(self, state: State) -> State:
        """The network with its head as one linear layer."""
        weight, bias = fold_head(select_prefix(state, "mean"), select_prefix(state, "classify"))
        return select_prefix(state, "network") | {"head.weight": weight, "head.bias": bias}


def mix_features(mean: Tensor, log_variance: Tensor, other: Tensor) -> Tensor:
    """Features (n, c) mixed with those of the faces numbered `other` (n,): the share of each is
    its variance over the sum of both, element by element."""
    share = torch.sigmoid(log_variance - log_variance[other])  # a / (a + b) without overflow
    return share * mean + (1 - share) * mean[other]


def fold_head(mean: State, classify: State, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Linear, BatchNorm with its running statistics, and linear as one map: weight and bias."""
    scale = mean["1.weight"] / torch.sqrt(mean["1.running_var"] + eps)
    shift = (mean["0.bias"] - mean["1.running_mean"]) * scale + mean["1.bias"]
    weight = classify["weight"]
    return weight @ (scale[:, None] * mean["0.weight"]), weight @ shift + classify["bias"]


OBJECTIVE = RULObjective
