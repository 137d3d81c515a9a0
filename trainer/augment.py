"""Random changes of faces in training, on a batch of network inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from trainer.recipes import Augment


def augment(x: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    """Flip, turn, shift, scale, change contrast and brightness, and blank a square.

    x: (n, c, h, w) float32, normalised. Returns the same shape. All draws come from `generator`.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * 2 - 1

    n, _, height, width = x.shape
    x = functional.grid_sample(
        x, _grid(x, how, uniform), mode="bilinear", padding_mode="reflection", align_corners=False
    )
    x = x * (1 + how.contrast * uniform(n, 1, 1, 1)) + how.brightness * uniform(n, 1, 1, 1)
    low, high = how.erase_px
    side = torch.randint(low, high + 1, (n, 1, 1, 1), generator=generator)
    wanted = torch.rand(n, 1, 1, 1, generator=generator) < how.erase_p
    top = (torch.rand(n, 1, 1, 1, generator=generator) * (height - side + 1)).floor()
    left = (torch.rand(n, 1, 1, 1, generator=generator) * (width - side + 1)).floor()
    rows = torch.arange(height).view(1, 1, -1, 1)
    columns = torch.arange(width).view(1, 1, 1, -1)
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return x.masked_fill(inside & wanted, 0.0)


def _grid(x: Tensor, how: Augment, uniform: Callable[..., Tensor]) -> Tensor:
    n = len(x)
    angle = uniform(n) * math.radians(how.rotation)
    scale = 1 + how.scale * uniform(n)
    mirror = torch.where(uniform(n) < 0, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    shift = 2 * how.shift * uniform(n, 2)
    matrix = torch.stack(
        [
            torch.stack([cos * mirror, -sin, shift[:, 0]], dim=1),
            torch.stack([sin * mirror, cos, shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    return functional.affine_grid(matrix, list(x.shape), align_corners=False)
