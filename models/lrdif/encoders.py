"""Encoders of a face and of a label distribution: two vectors of one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

FEATURES = 256
WIDTHS = (32, 64, 128, FEATURES)


class ImageEncoder(nn.Module):
    """Faces (n, channels, h, w) -> (n, 256); a compact stand-in for CLIP's image encoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in zip((channels, *WIDTHS), WIDTHS, strict=False):
            layers += [
                nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False),
                nn.BatchNorm2d(c_out),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.layers(x).mean(dim=(2, 3))
        return pooled


class LabelEncoder(nn.Module):
    """Distributions over K classes (n, K) -> (n, 256): the mean of the classes' vectors."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.table = nn.Parameter(nn.init.orthogonal_(torch.empty(classes, FEATURES)))

    def forward(self, shares: Tensor) -> Tensor:
        return shares @ self.table


class TextImageEncoder(Protocol):
    """An external pair of encoders, such as CLIP's: frozen, both to (n, `features`)."""

    features: int

    def image(self, x: Tensor) -> Tensor:
        """Vectors of faces (n, channels, h, w), normalised as the card says."""
        ...

    def label(self, shares: Tensor) -> Tensor:
        """Vectors of distributions over the classes (n, K)."""
        ...


class ExternalEncoder(nn.Module):
    """One side of a `TextImageEncoder` as a module without weights."""

    def __init__(self, encode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._encode = encode

    def forward(self, given: Tensor) -> Tensor:
        return self._encode(given)
