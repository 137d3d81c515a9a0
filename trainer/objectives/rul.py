"""Mix by doubt: the rival RUL, which learns how uncertain a face is from pairs of them.

Zhang, Wang & Deng 2021, "Relative Uncertainty Learning for Facial Expression Recognition"
(NeurIPS). Two faces are mixed, and both must still be recognised: the harder one needs the greater
share, and shares are given by uncertainty.
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
from trainer.objectives.softmax import SoftmaxObjective, part_of
from trainer.recipes import Recipe

SIZE = 64


class RUL(nn.Module):
    """A network whose head is in two parts: to `mean` (n, 64), from there to classes; and beside
    the first part the logarithm of a variance (n, 64), in training alone."""

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
        """Answers (n, K) of the means."""
        answers: Tensor = self.classify(self.mean(self.network(x)))
        return answers


class RULObjective(SoftmaxObjective):
    """Features of two faces are mixed by their uncertainty, and cross-entropy asks
    for either's votes, half and half.

    All parts learn at one rate: ours start at random together, where the paper's network had been
    pretrained. In evaluation the head's two parts and the norm between are one linear map, so what
    serves is a plain network. Pairs are drawn within a batch: train with one worker.
    """

    mixes_faces = True
    network: RUL

    def __init__(self, recipe: Recipe, card: ModelCard) -> None:
        super().__init__(recipe, card)
        network: ResNet18 = self.network  # type: ignore[assignment]
        self.network = RUL(network)

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Cross-entropy of every face mixed with another one."""
        features = self.network.network(batch.x)
        mean, log_variance = self.network.mean(features), self.network.log_variance(features)
        other = torch.randperm(len(batch.x), device=batch.x.device)
        answers = self.network.classify(mixed(mean, log_variance, other)).float()
        both = (batch.targets + batch.targets[other]) / 2
        return functional.cross_entropy(answers, both)

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """The answers of the means."""
        answers: Tensor = self.network(x)
        return answers

    def serving_state(self, state: State) -> State:
        """The network with its head in one piece."""
        weight, bias = in_one(part_of(state, "mean"), part_of(state, "classify"))
        return part_of(state, "network") | {"head.weight": weight, "head.bias": bias}


def mixed(mean: Tensor, log_variance: Tensor, other: Tensor) -> Tensor:
    """Features (n, c) mixed with those of the faces numbered `other` (n,): each has the share of
    its variance in the sum of both, number by number."""
    share = torch.sigmoid(log_variance - log_variance[other])  # a / (a + b) without overflow
    return share * mean + (1 - share) * mean[other]


def in_one(mean: State, classify: State, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """A linear map, a norm with its running statistics, and another linear map, as one: weight and
    bias."""
    scale = mean["1.weight"] / torch.sqrt(mean["1.running_var"] + eps)
    shift = (mean["0.bias"] - mean["1.running_mean"]) * scale + mean["1.bias"]
    weight = classify["weight"]
    return weight @ (scale[:, None] * mean["0.weight"]), weight @ shift + classify["bias"]


OBJECTIVE = RULObjective
