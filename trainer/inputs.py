"""Faces as a network's input, as they are or seen through displays that are drawn at random."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from models.crops import crops_from_tiles
from models.model_input import normalise, tile_to_input, to_model_input
from models.udc.panel import FACE_PX, Panel, render_panel
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.recipes import PanelDraws

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
    images = as_images(faces, card.channels)
    resample = tile_to_input(images.shape[-1], card.input_px)
    draws = torch.Generator().manual_seed(seed)
    chunks = []
    for start in range(0, len(images), CHUNK):
        seen = through_displays(images[start : start + CHUNK], replace(how, share=1.0), draws)
        chunks.append(resample @ seen @ resample.T)
    return normalise(torch.cat(chunks), card)


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


def through_displays(x: Tensor, how: PanelDraws, draws: torch.Generator) -> Tensor:
    """Pictures (n, c, h, w) 0..1, some of them through a display, all rounded to 8 bits."""
    seed = int(torch.randint(2**62, (1,), generator=draws))
    rng = np.random.Generator(np.random.Philox(key=seed))
    seen = torch.from_numpy(rng.random(len(x)) < how.share)
    x = x.clone()
    if seen.any():
        scale = x.shape[-1] / FACE_PX
        panels = [draw_panel(how, rng).at(scale) for _ in range(int(seen.sum()))]
        x[seen] = render_panel(x[seen], panels, rng)
    return (x * 255).round() / 255


def as_images(faces: FaceSet, channels: int) -> Tensor:
    """Tiles as (n, channels, h, w) float32 in 0..1."""
    tiles = faces.tiles
    if channels == 1 and tiles.ndim == 4:
        tiles = np.stack([cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY) for tile in tiles])
    x = torch.from_numpy(np.ascontiguousarray(tiles)).float() / 255
    x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
    return x.expand(-1, channels, -1, -1) if x.shape[1] < channels else x
