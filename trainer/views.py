"""How a network is shown faces in training: changed at random, some of them through a display."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.crops import crops_from_tiles
from models.model_input import tile_to_input, to_model_input
from models.udc.panel import FACE_PX, Panel, see
from models.weights import ModelCard
from trainer.augment import draw_warps, repainted, warped
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch
from trainer.recipes import PanelDraws, Recipe

CHUNK = 512


def model_inputs(faces: FaceSet, card: ModelCard) -> Tensor:
    """All faces through the one door to a network's input: (n, c, px, px) float32."""
    chunks = [
        to_model_input(crops_from_tiles(faces.tiles[start : start + CHUNK]), card)
        for start in range(0, len(faces), CHUNK)
    ]
    return torch.cat(chunks)


def inputs_behind(faces: FaceSet, card: ModelCard, how: PanelDraws, seed: int = 0) -> Tensor:
    """All faces, each behind a display drawn as in training: (n, c, px, px) float32, always the
    same for a seed."""
    pictures = _as_pictures(faces, card.channels)
    resample = tile_to_input(pictures.shape[-1], card.input_px)
    draws = torch.Generator().manual_seed(seed)
    chunks = []
    for start in range(0, len(pictures), CHUNK):
        seen = _through_some(pictures[start : start + CHUNK], replace(how, share=1.0), draws)
        chunks.append(resample @ seen @ resample.T)
    return (torch.cat(chunks) - card.mean) / card.std


class Views:
    """Batches of changed faces. Where the recipe has a display, faces are warped as tiles, seen
    through it, and only then become inputs: as a camera would have it."""

    def __init__(self, faces: FaceSet, card: ModelCard, recipe: Recipe) -> None:
        self._how, self._panel, self._card = recipe.augment, recipe.panel, card
        self._targets = torch.from_numpy(faces.targets)
        if self._panel is None:
            self._inputs = model_inputs(faces, card)
            return
        self._inputs = _as_pictures(faces, card.channels)
        self._resample = tile_to_input(self._inputs.shape[-1], card.input_px)

    def __len__(self) -> int:
        return len(self._targets)

    def __call__(self, rows: Tensor, size: int, draws: torch.Generator) -> Batch:
        """The faces of `rows` (n,) changed by `draws`, then shrunk to `size` pixels."""
        warps = draw_warps(len(rows), self._how, draws)
        x = warped(self._inputs[rows], warps)
        if self._panel is not None:
            x = self._resample @ _through_some(x, self._panel, draws) @ self._resample.T
            x = (x - self._card.mean) / self._card.std
        x = _shrunk(repainted(x, self._how, draws), size)
        x = x.contiguous(memory_format=torch.channels_last)
        return Batch(x, self._targets[rows], warps, rows)


def draw_panel(how: PanelDraws, rng: np.random.Generator) -> Panel:
    """A display with bars or with holes, as often the one as the other."""

    def log_uniform(low: float, high: float) -> float:
        return math.exp(rng.uniform(math.log(low), math.log(high)))

    open_x = rng.uniform(*how.open)
    return Panel(
        open_x=open_x,
        open_y=open_x if rng.random() < 0.5 else 1.0,
        transmission=log_uniform(*how.transmission),
        spacing_px=rng.uniform(*how.spacing_px),
        white_e=log_uniform(*how.white_e),
    )


def _through_some(x: Tensor, how: PanelDraws, draws: torch.Generator) -> Tensor:
    """Pictures (n, c, h, w) 0..1, some of them through a display, all rounded to 8 bits."""
    seed = int(torch.randint(2**62, (1,), generator=draws))
    rng = np.random.Generator(np.random.Philox(key=seed))
    seen = torch.from_numpy(rng.random(len(x)) < how.share)
    x = x.clone()
    if seen.any():
        scale = x.shape[-1] / FACE_PX
        panels = [draw_panel(how, rng).at(scale) for _ in range(int(seen.sum()))]
        x[seen] = see(x[seen], panels, rng)
    return (x * 255).round() / 255


def _as_pictures(faces: FaceSet, channels: int) -> Tensor:
    """Tiles as (n, channels, h, w) float32 in 0..1."""
    tiles = faces.tiles
    if channels == 1 and tiles.ndim == 4:
        tiles = np.stack([cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY) for tile in tiles])
    x = torch.from_numpy(np.ascontiguousarray(tiles)).float() / 255
    x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
    return x.expand(-1, channels, -1, -1) if x.shape[1] < channels else x


def _shrunk(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] == size:
        return x
    return functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
