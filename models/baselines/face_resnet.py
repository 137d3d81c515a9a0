"""dlib's face network with a linear head: the baseline for a diffusion model on that trunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.encoders.dlib_face import LEVELS, DlibFaceTrunk


class FaceResNet(nn.Module):
    """Faces to logits: (b, channels, h, w) float32, 64 pixels or more -> (b, classes) float32.

    The head reads the means of the last three levels' maps, normalised over the batch: the last
    level was trained for identity, and earlier ones hold more of the expression.
    """

    def __init__(self, classes: int, channels: int = 1, dropout: float = 0.3) -> None:
        super().__init__()
        self.trunk = DlibFaceTrunk(channels)
        features = sum(channels_of for channels_of, _, _ in LEVELS[2:])
        self.norm = nn.BatchNorm1d(features)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """Faces (b, channels, h, w) -> normalised means of the maps, (b, 640)."""
        pooled = [maps.mean(dim=(2, 3)) for maps in self.trunk(x)[2:]]
        features: Tensor = self.norm(torch.cat(pooled, dim=1))
        return features

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.features(x)))
        return logits
