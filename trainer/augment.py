"""Random augmentation of faces in training, on a batch of network inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from trainer.recipes import Augment


def augment(x: Tensor, settings: Augment, generator: torch.Generator) -> Tensor:
    """Flip, rotate, shift, scale, change contrast and brightness, and erase a square.

    x: (n, c, h, w) float32, normalised. Returns the same shape. All random numbers come from
    `generator`.
    """
    warps = sample_warps(len(x), settings, generator)
    return jitter_and_erase(warp_images(x, warps), settings, generator)


def sample_warps(n: int, settings: Augment, generator: torch.Generator) -> Tensor:
    """Random affine maps (n, 2, 3) from places in the new image to places in the old, -1..1."""
    uniform = _uniform(generator)
    angle = uniform(n) * math.radians(settings.rotation)
    scale = 1 + settings.scale * uniform(n)
    flip = torch.where(uniform(n) < 0, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    shift = 2 * settings.shift * uniform(n, 2)
    return torch.stack(
        [
            torch.stack([cos * flip, -sin, shift[:, 0]], dim=1),
            torch.stack([sin * flip, cos, shift[:, 1]], dim=1),
        ],
        dim=1,
    )


def shift_warps(warps: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """The maps of `sample_warps`, each moved by up to the share `most` of an image's side along
    each axis."""
    moved = warps.clone()
    moved[:, :, 2] += 2 * most * _uniform(generator)(len(warps), 2)
    return moved


def warp_images(x: Tensor, warps: Tensor) -> Tensor:
    """Images (n, c, h, w) under the maps of `sample_warps`, reflected beyond the edge."""
    grid = functional.affine_grid(warps, list(x.shape), align_corners=False)
    return functional.grid_sample(
        x, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def jitter_and_erase(x: Tensor, settings: Augment, generator: torch.Generator) -> Tensor:
    """Random contrast, brightness and an erased square, on (n, c, h, w) normalised inputs."""
    n, _, height, width = x.shape
    uniform = _uniform(generator)
    x = x * (1 + settings.contrast * uniform(n, 1, 1, 1))
    x = x + settings.brightness * uniform(n, 1, 1, 1)
    low, high = settings.erase_px
    side = torch.randint(low, high + 1, (n, 1, 1, 1), generator=generator)
    is_erased = torch.rand(n, 1, 1, 1, generator=generator) < settings.erase_p
    top = (torch.rand(n, 1, 1, 1, generator=generator) * (height - side + 1)).floor()
    left = (torch.rand(n, 1, 1, 1, generator=generator) * (width - side + 1)).floor()
    rows = torch.arange(height).view(1, 1, -1, 1)
    columns = torch.arange(width).view(1, 1, 1, -1)
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return x.masked_fill(inside & is_erased, 0.0)


def _uniform(generator: torch.Generator) -> Callable[..., Tensor]:
    return lambda *shape: torch.rand(shape, generator=generator) * 2 - 1
