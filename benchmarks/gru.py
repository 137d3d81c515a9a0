"""A baseline of Z along a track: a GRU on what a plain network sees in each observation.

The network stays as it is; the GRU learns from training faces in 8 observations under one random
display each, a quarter of them another face from some observation on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.baselines.resnet import ResNet18
from models.errors import ModelError

if TYPE_CHECKING:
    from models.weights import ModelCard
    from trainer.data.faceset import FaceSet

HIDDEN = 128
OBSERVATIONS = 8
CHANGING = 0.25
EPOCHS, BATCH, LR = 30, 128, 1e-3
CHUNK = 128


class FeatureGRU(nn.Module):
    """Features (observations, n, F) -> logits after each (observations, n, classes)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(features, HIDDEN)
        self.head = nn.Linear(HIDDEN, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits after each observation."""
        logits: Tensor = self.head(self.gru(features)[0])
        return logits


def extract_features(network: nn.Module, inputs: list[Tensor]) -> Tensor:
    """Penultimate features (observations, n, F) of inputs (n, c, px, px) of each observation.

    Raises ModelError for another network than ResNet-18.
    """
    if not isinstance(network, ResNet18):
        raise ModelError("no features for a GRU", type(network).__name__, "give resnet18 weights")
    with torch.no_grad():
        return torch.stack(
            [
                torch.cat(
                    [
                        network.feature_maps(x[first : first + CHUNK]).mean(dim=(2, 3))
                        for first in range(0, len(x), CHUNK)
                    ]
                )
                for x in inputs
            ]
        )


def draw_observations(faces: FaceSet, card: ModelCard, seed: int) -> list[Tensor]:
    """Training inputs (n, c, px, px) of OBSERVATIONS observations, each face under its display."""
    from models.model_input import normalise, tile_to_input
    from trainer.inputs import simulate_observations, to_images
    from trainer.presets import REAL_PANELS

    images = to_images(faces, card.channels)
    resample = tile_to_input(images.shape[-1], card.input_px)
    generator = torch.Generator().manual_seed(seed)
    views, _ = simulate_observations([images] * OBSERVATIONS, REAL_PANELS, generator)
    return [normalise(resample @ view @ resample.T, card) for view in views]


def train_gru(features: Tensor, targets: Tensor, seed: int, epochs: int = EPOCHS) -> FeatureGRU:
    """A GRU trained on features (observations, n, F) and votes (n, K), in evaluation mode."""
    torch.manual_seed(seed)
    length, n, size = features.shape
    gru = FeatureGRU(size, targets.shape[1])
    steps = epochs * (n // BATCH)
    optimizer = torch.optim.AdamW(gru.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(n)[: n // BATCH * BATCH].view(-1, BATCH):
            others = rows.roll(1)
            since = torch.randint(1, length, (BATCH,))
            since[torch.rand(BATCH) >= CHANGING] = length
            is_other = torch.arange(length)[:, None] >= since
            x = torch.where(is_other[:, :, None], features[:, others], features[:, rows])
            wanted = torch.where(is_other[:, :, None], targets[others], targets[rows])
            logits = gru(x).flatten(0, 1)
            loss = functional.cross_entropy(logits, wanted.flatten(0, 1))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return gru.eval()


def train_baseline_gru(
    network: nn.Module, card: ModelCard, count: int, seed: int = 1
) -> FeatureGRU:
    """A GRU on the network's features of `count` faces of Training that are not in its cut."""
    from trainer.data.ferplus import select_validation_cut
    from trainer.data.readers import open_faces

    faces = open_faces("ferplus:training")
    fit = faces[~select_validation_cut(faces)]
    rows = np.random.default_rng(seed).permutation(len(fit))[:count]
    features = extract_features(network, draw_observations(fit[rows], card, seed))
    return train_gru(features, torch.from_numpy(fit[rows].targets), seed)
