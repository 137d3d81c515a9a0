"""DR-FER's network: a branch that sees the face, and one that sees each quarter of it alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.drfer.trunk import Trunk, resnet50_trunk, small_trunk

BACKBONES = ("resnet18", "resnet50")
PARTS = 4


class LocalBranch(nn.Module):
    """Maps of the trunk's first stage (n, c, h, w) -> a vector (n, embedding).

    The maps are cut into quadrants, which go through the same two blocks one by one: what comes out
    of a quadrant depends on no pixel beyond the receptive field of the first stage, 5 pixels with a
    stem of stride 1. Cut after a later stage, each quadrant would see the whole face.
    """

    def __init__(self, trunk: Trunk, embedding: int) -> None:
        super().__init__()
        c = trunk.local_channels
        self.blocks = nn.Sequential(trunk.block(c, 2 * c, 2), trunk.block(2 * c, 4 * c, 2))
        self.project = nn.Linear(PARTS * 4 * c, embedding)

    def encode_parts(self, maps: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, 4, 4 c): top left, top right, bottom left, bottom right."""
        y, x = maps.shape[2] // 2, maps.shape[3] // 2
        parts = (maps[..., :y, :x], maps[..., :y, x:], maps[..., y:, :x], maps[..., y:, x:])
        pooled = self.blocks(torch.cat(parts)).mean(dim=(2, 3))
        return pooled.view(PARTS, -1, pooled.shape[1]).transpose(0, 1)

    def forward(self, maps: Tensor) -> Tensor:
        vector: Tensor = self.project(self.encode_parts(maps).flatten(1))
        return vector


class DRFER(nn.Module):
    """Faces to logits: (n, channels, h, w) float32 -> (n, classes) float32.

    `backbone` resnet18 has a `width` and a `stem_stride` (1 or 2), resnet50 is the poster's and has
    neither. Both sides of the first stage's maps must be even. Raises ValueError for a backbone
    that is unknown.
    """

    def __init__(
        self,
        classes: int,
        backbone: str = "resnet18",
        width: int = 48,
        stem_stride: int = 1,
        embedding: int = 256,
        channels: int = 1,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone {backbone!r}: give {' or '.join(BACKBONES)}")
        small = backbone == "resnet18"
        self.trunk = (
            small_trunk(channels, width, stem_stride) if small else resnet50_trunk(channels)
        )
        self.channels, self.embedding = channels, embedding
        self.local = LocalBranch(self.trunk, embedding)
        self.project = nn.Linear(self.trunk.global_channels, embedding)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * embedding, classes)

    def represent(self, x: Tensor) -> Tensor:
        """The vectors [L, G] of the local and of the global branch, (n, 2 embedding)."""
        maps = self.trunk.first(x)
        whole = self.project(self.trunk.rest(maps).mean(dim=(2, 3)))
        return torch.cat([self.local(maps), whole], dim=1)

    def classify(self, vectors: Tensor) -> Tensor:
        """Vectors [L, G] -> logits (n, classes)."""
        logits: Tensor = self.head(self.dropout(vectors))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.represent(x))


def to_embeddings(vectors: Tensor) -> Tensor:
    """V: vectors [L, G] of the two branches -> unit vectors, in float32."""
    return functional.normalize(vectors.float(), dim=1)
