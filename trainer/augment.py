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
    return repainted(warped(x, draw_warps(len(x), how, generator)), how, generator)


def draw_warps(n: int, how: Augment, generator: torch.Generator) -> Tensor:
    """Affine maps (n, 2, 3) from places in the new picture to places in the old, both -1..1."""
    uniform = _uniform(generator)
    angle = uniform(n) * math.radians(how.rotation)
    scale = 1 + how.scale * uniform(n)
    mirror = torch.where(uniform(n) < 0, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    shift = 2 * how.shift * uniform(n, 2)
    return torch.stack(
        [
            torch.stack([cos * mirror, -sin, shift[:, 0]], dim=1),
            torch.stack([sin * mirror, cos, shift[:, 1]], dim=1),
        ],
        dim=1,
    )


def warped(x: Tensor, warps: Tensor) -> Tensor:
    """Pictures (n, c, h, w) under the maps of `draw_warps`; beyond the edge they are mirrored."""
    grid = functional.affine_grid(warps, list(x.shape), align_corners=False)
    return functional.grid_sample(
        x, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def repainted(x: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    """The changes of contrast and brightness, and the blank square, on (n, c, h, w) normalised."""
    n, _, height, width = x.shape
    uniform = _uniform(generator)
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


def _uniform(generator: torch.Generator) -> Callable[..., Tensor]:
    return lambda *shape: torch.rand(shape, generator=generator) * 2 - 1
