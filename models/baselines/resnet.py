"""ResNet-18 for small faces (He et al. 2015, arXiv 1512.03385), its width and stem as settings."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip: (b, c_in, h, w) -> (b, c_out, h / stride, w / stride).

    `film` (b, 2 c_out), a scale and a shift of each channel, modulates what the skip is added to:
    out (1 + scale) + shift (FiLM, Perez et al. 2017, arXiv 1709.07871).
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.skip = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        out = torch.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        if film is not None:
            scale, shift = film[:, :, None, None].chunk(2, dim=1)
            out = torch.addcmul(out + shift, out, scale)
        return torch.relu(out + self.skip(x))


class ResNet18(nn.Module):
    """Faces to logits: (b, channels, h, w) float32 -> (b, classes) float32.

    `width` is the number of channels of the first of four stages (each doubles it); `stem_stride`
    1 keeps the full resolution in the first stage, 2 halves it for a quarter of the cost. Train
    none narrower than 8: torch 2.13 overwrites memory in the backward pass of its 1x1 convolution.
    """

    def __init__(
        self,
        classes: int,
        width: int = 32,
        stem_stride: int = 2,
        channels: int = 1,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if stem_stride < 1:
            raise ValueError(f"stem_stride {stem_stride}: give 1 or 2")
        widths = [width, width * 2, width * 4, width * 8]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, stem_stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        stages: list[nn.Module] = []
        c_in = width
        for number, c_out in enumerate(widths):
            stride = 1 if number == 0 else 2
            stages += [ResidualBlock(c_in, c_out, stride), ResidualBlock(c_out, c_out, 1)]
            c_in = c_out
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(c_in, classes)

    def feature_maps(self, x: Tensor) -> Tensor:
        """Faces (b, channels, h, w) -> maps of the last stage (b, 8 width, h / 8, w / 8); with a
        stem of stride 2 half that size."""
        maps: Tensor = self.stages(self.stem(x))
        return maps

    def logits(self, maps: Tensor) -> Tensor:
        """Feature maps -> logits (b, classes)."""
        logits: Tensor = self.head(self.dropout(maps.mean(dim=(2, 3))))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.feature_maps(x))
