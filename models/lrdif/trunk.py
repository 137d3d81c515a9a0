"""LRDif's former as a plain ResNet-18 whose later stages Z modulates, and stage 1 of it.

In one forward the first two stages encode the face, Z is restored from what they found, and the
last two stages take it. Without Z, and before any training, it is the plain network exactly: it
can start from that network's weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.baselines.resnet import ResNet18
from models.lrdif.encoders import FEATURES, LabelEncoder
from models.lrdif.prior import FPEN, epr_norm

FIRST = 4
"""The first of the eight residual blocks that Z modulates: those at 1/8 and 1/16 of the side."""
SUMMARY_SIDE = 4
"""Level 2 is summarised in 4x4 places: mouth and eyes stay apart."""


class ModulatedResNet(ResNet18):
    """ResNet-18 with a stem of stride 2 whose last four blocks are modulated by a prior.

    A weighed prior (n, `prior` + 1) is Z times how far it is trusted, and that number itself, see
    `weigh`. The layers that read it start at zero.
    """

    def __init__(self, classes: int, width: int, channels: int, dropout: float, prior: int) -> None:
        super().__init__(classes, width, 2, channels, dropout)
        self.features = SUMMARY_SIDE**2 * 2 * width
        """Numbers of a summary."""
        self.films = nn.ModuleList()
        for c_out in (4 * width, 4 * width, 8 * width, 8 * width):
            film = nn.Linear(prior + 1, 2 * c_out, bias=False)
            self.films.append(film)
            nn.init.zeros_(film.weight)

    def encode(self, x: Tensor) -> Tensor:
        """Faces (n, channels, h, w) -> maps of level 2 (n, 2 width, h / 4, w / 4)."""
        return self.stages[:FIRST](self.stem(x))

    def summarise(self, maps: Tensor) -> Tensor:
        """Maps of level 2 -> (n, `features`), what Z is restored from."""
        return functional.adaptive_avg_pool2d(maps, SUMMARY_SIDE).flatten(1)

    def classify(self, maps: Tensor, weighed: Tensor | None = None) -> Tensor:
        """Maps of level 2 and a weighed prior, or none -> logits (n, classes)."""
        for block, film in zip(list(self.stages)[FIRST:], self.films, strict=True):
            maps = block(maps, None if weighed is None else film(weighed))
        return self.logits(maps)

    def forward(self, x: Tensor, weighed: Tensor | None = None) -> Tensor:
        return self.classify(self.encode(x), weighed)


def weigh(z: Tensor, trust: Tensor) -> Tensor:
    """Z (n, C) and how far to trust it, its cosine with the true Z, (n, 1) or one number in 0..1
    -> (n, C + 1). At trust 0 all is zero: the network without Z.

    >>> weigh(torch.ones(1, 2), torch.tensor(0.5)).tolist()
    [[0.5, 0.5, 0.5]]
    """
    trust = trust.to(z).expand(z.shape[0], 1)
    return torch.cat([trust * z, trust], dim=1)


def corrupt(z: Tensor, trust: Tensor, noise: Tensor) -> Tensor:
    """Z (n, C) of mean 0 and variance 1 mixed with N(0, I) noise (n, C) so that its cosine with
    what it was is about `trust` (n, 1)."""
    return epr_norm(trust * z + (1 - trust.square()).clamp(min=0).sqrt() * noise)


class LRDifWithTwin(nn.Module):
    """Stage 1: Z of a face from a clean network's features (n, `features`) of its clean twin, and,
    with `label`, from its label too. For training."""

    def __init__(
        self, former: ModulatedResNet, features: int, prior: int, classes: int, label: bool
    ) -> None:
        super().__init__()
        self.label = LabelEncoder(classes) if label else None
        self.fpen = FPEN(features + FEATURES * label, prior)
        self.former = former

    def z(self, features: Tensor, shares: Tensor | None = None) -> Tensor:
        """Z (n, prior) of features, and of labels (n, K); without them, or where all shares of a
        face are 0, of the features alone."""
        if self.label is not None:
            label = features.new_zeros(len(features), FEATURES)
            if shares is not None:
                label = self.label(shares)
            features = torch.cat([label, features], dim=1)
        return epr_norm(self.fpen(features))
