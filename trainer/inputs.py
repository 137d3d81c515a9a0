"""Faces as network inputs, clean or under random simulated displays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from models.crops import crops_from_tiles
from models.model_input import normalise, tile_to_input, to_model_input
from models.udc.panel import FACE_PX, READ_E, Panel, render_panel
from models.udc.suites import REAL_P_OLED
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.data.tile_file import is_on_disk
from trainer.errors import DataError
from trainer.recipes import RandomPanel

CHUNK = 512


def build_inputs(faces: FaceSet, card: ModelCard) -> Tensor:
    """All faces as network inputs, resampled as in serving: (n, c, px, px) float32."""
    check_crop(faces, card)
    chunks = [
        to_model_input(crops_from_tiles(faces.tiles[start : start + CHUNK]), card)
        for start in range(0, len(faces), CHUNK)
    ]
    return torch.cat(chunks)


class InputsOnDemand:
    """Network inputs of faces whose tiles are in a file: made where they are used."""

    def __init__(self, faces: FaceSet, make: Callable[[FaceSet], Tensor]) -> None:
        self._faces, self._make = faces, make
        self.shape = (len(faces), *make(faces[:1]).shape[1:])

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self._make(self._faces[rows.numpy()])


def open_inputs(faces: FaceSet, make: Callable[[FaceSet], Tensor]) -> Tensor | InputsOnDemand:
    """What `make` gives for the faces, (n, c, px, px): of all at once, or, where their tiles are in
    a file, of the rows that an index asks for."""
    return InputsOnDemand(faces, make) if is_on_disk(faces.tiles) else make(faces)


def build_udc_inputs(faces: FaceSet, card: ModelCard, panel: RandomPanel, seed: int = 0) -> Tensor:
    """All faces, each under a random display as in training: (n, c, px, px) float32.

    Always the same for a seed.
    """
    check_crop(faces, card)
    images = to_images(faces, card.channels)
    resample = tile_to_input(images.shape[-1], card.input_px)
    generator = torch.Generator().manual_seed(seed)
    every_face = replace(panel, share=1.0)
    chunks = []
    for start in range(0, len(images), CHUNK):
        degraded = simulate_displays(images[start : start + CHUNK], every_face, generator)
        chunks.append(resample @ degraded @ resample.T)
    return normalise(torch.cat(chunks), card)


def check_crop(faces: FaceSet, card: ModelCard) -> None:
    """Raise DataError where the tiles are of another geometry than the network's."""
    if faces.crop != card.crop:
        what = f"tiles of {faces.crop!r} for weights of {card.crop!r}"
        raise DataError(what, faces.name, "give weights of the tiles' geometry, or align the tiles")


def sample_panel(ranges: RandomPanel, rng: np.random.Generator) -> Panel:
    """A random display: with bars or with holes, each with probability 0.5, or a real P-OLED."""

    def log_uniform(low: float, high: float) -> float:
        return math.exp(rng.uniform(math.log(low), math.log(high)))

    # No number is drawn for a share of 0: older recipes go on seeing the displays they always saw.
    if ranges.real and rng.random() < ranges.real:
        return replace(
            REAL_P_OLED.at(FACE_PX / log_uniform(*ranges.real_face_px)),
            transmission=log_uniform(*ranges.transmission),
            white_e=log_uniform(*ranges.white_e),
            read_e=READ_E,
        )
    open_x = rng.uniform(*ranges.open)
    return Panel(
        open_x=open_x,
        open_y=open_x if rng.random() < 0.5 else 1.0,
        transmission=log_uniform(*ranges.transmission),
        spacing_px=rng.uniform(*ranges.spacing_px),
        white_e=log_uniform(*ranges.white_e),
    )


def simulate_displays(x: Tensor, ranges: RandomPanel, generator: torch.Generator) -> Tensor:
    """Images (n, c, h, w) 0..1, a share of them under random displays, all rounded to 8 bits."""
    return simulate_observations([x], ranges, generator)[0][0]


def simulate_observations(
    views: Sequence[Tensor], ranges: RandomPanel, generator: torch.Generator
) -> tuple[list[Tensor], list[Panel | None]]:
    """Several views of the same faces, (n, c, h, w) 0..1 each: a share of the faces is under a
    random display in all of them, each time with other noise. All rounded to 8 bits; and each
    face's display, for a face 48 pixels high."""
    # One number of the generator seeds numpy's: the panels and their noise take as many numbers as
    # they need without moving the generator that the other augmentations read from.
    seed = int(torch.randint(2**62, (1,), generator=generator))
    rng = np.random.Generator(np.random.Philox(key=seed))
    is_degraded = torch.from_numpy(rng.random(len(views[0])) < ranges.share)
    scale = views[0].shape[-1] / FACE_PX
    panels = [sample_panel(ranges, rng) for _ in range(int(is_degraded.sum()))]
    scaled = [panel.at(scale) for panel in panels]
    seen = []
    for view in views:
        x = view.clone()
        if panels:
            x[is_degraded] = render_panel(x[is_degraded], scaled, rng)
        seen.append((x * 255).round() / 255)
    drawn = iter(panels)
    return seen, [next(drawn) if degraded else None for degraded in is_degraded.tolist()]


def to_images(faces: FaceSet, channels: int) -> Tensor:
    """Tiles as (n, channels, h, w) float32 in 0..1."""
    tiles = faces.tiles
    if channels == 1 and tiles.ndim == 4:
        tiles = np.stack([cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY) for tile in tiles])
    x = torch.from_numpy(np.ascontiguousarray(tiles)).float() / 255
    x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
    return x.expand(-1, channels, -1, -1) if x.shape[1] < channels else x
