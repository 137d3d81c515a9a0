"""UDCformer: the maps of both networks as tokens, a class token, logits (eq. 10 to 12)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.lrdif.dynamic import DTNetwork
from models.lrdif.landmark_image import DILNetwork, attention

HEADS = 4
MLP_RATIO = 2
PATCHES = (4, 2, 1)
"""Sides of the patches that the three levels are cut into, so that each gives as many tokens."""


class FusionBlock(nn.Module):
    """A pre-norm transformer block: (n, tokens, c) -> (n, tokens, c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, MLP_RATIO * width), nn.GELU(), nn.Linear(MLP_RATIO * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, tokens, 3, HEADS, width // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        fused: Tensor = x + self.mlp(self.norm2(x))
        return fused


class Fusion(nn.Module):
    """Three maps (n, h, w, c) -> a summary (n, width), after `blocks` transformer blocks.

    It is the class token, as the paper has it, and unless `class_alone` the mean of all other
    tokens on top, which learns much faster from few faces.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        width: int,
        blocks: int,
        input_px: int,
        class_alone: bool = False,
    ) -> None:
        super().__init__()
        self.embed = nn.ModuleList(
            nn.Conv2d(c, width, side, side) for c, side in zip(channels, PATCHES, strict=True)
        )
        tokens = 1 + len(PATCHES) * (input_px // 8) ** 2
        self.start = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, tokens, width), std=0.02))
        self.blocks = nn.Sequential(*(FusionBlock(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        read = torch.full((1, tokens), 0.0 if class_alone else 1 / (tokens - 1))
        read[0, 0] = 1
        self.register_buffer("read", read, persistent=False)

    def forward(self, maps: list[Tensor]) -> Tensor:
        tokens = [self.start.expand(maps[0].shape[0], -1, -1)]
        for embed, found in zip(self.embed, maps, strict=True):
            tokens.append(embed(found.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2))
        x = self.blocks(torch.cat(tokens, dim=1) + self.place)
        summary: Tensor = self.norm((self.read @ x).squeeze(1))
        return summary


class UDCFormer(nn.Module):
    """Faces (n, channels, H, W) and Z (n, prior) -> features (n, width) and logits (n, classes).

    `prior` 0 builds it without DTnetwork and Z: `Poster`, the baseline without diffusion.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        input_px: int,
        widths: tuple[int, int, int],
        dil_blocks: tuple[int, int, int],
        dt_widths: tuple[int, int, int],
        dt_blocks: int,
        width: int,
        fusion_blocks: int,
        dropout: float,
        dt_decoder: bool,
        class_alone: bool,
        prior: int,
    ) -> None:
        super().__init__()
        self.dt = DTNetwork(channels, dt_widths, dt_blocks, prior, dt_decoder) if prior else None
        self.dil = DILNetwork(channels, input_px, widths, dil_blocks)
        seen = zip(widths, dt_widths if prior else (0, 0, 0), strict=True)
        maps = tuple(ours + restored for ours, restored in seen)
        self.fusion = Fusion(maps, width, fusion_blocks, input_px, class_alone)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def features(self, x: Tensor, z: Tensor | None) -> Tensor:
        """The summary before the head: (n, width)."""
        maps = self.dil(x)
        if self.dt is not None and z is not None:
            maps = [torch.cat(pair, dim=-1) for pair in zip(self.dt(x, z), maps, strict=True)]
        found: Tensor = self.fusion(maps)
        return found

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.features(x, z)))
        return logits
