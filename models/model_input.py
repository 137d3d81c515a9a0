"""Crops to a network's input: the one function that training and serving share."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from models.crops import CROP_PX, Crops, check_crops
from models.weights import ModelCard

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601 weights of R, G and B."""
LEAST_CONTRAST, CONTRAST = 0.10, 0.16
"""Standard deviation of a face's pixels, 0..1, below which it is stretched, and that it gets then:
99 of 100 clean faces of FER2013 have more than the first, their median is 0.21 (docs/LOG.md)."""


def to_model_input(crops: Crops, card: ModelCard, device: str = "cpu") -> Tensor:
    """Crops (n, 112, 112, 3) uint8 -> (n, channels, px, px) float32, see `normalise`.

    Shrinking averages over the exact area of each new pixel, enlarging is cubic. Raises ModelError
    for other shapes.
    """
    check_crops(crops)
    x = torch.from_numpy(np.ascontiguousarray(crops)).to(device).permute(0, 3, 1, 2).float() / 255
    if card.channels == 1:
        x = (x * torch.tensor(LUMA, device=device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    if card.input_px != CROP_PX:
        resample = _resampling(CROP_PX, card.input_px).to(device)
        x = resample @ x @ resample.T
    return normalise(x, card)


def normalise(x: Tensor, card: ModelCard) -> Tensor:
    """Images (n, c, h, w) in 0..1 -> (x - mean) / std, each channel by its own of the card, after
    `stretch_contrast`."""
    x = stretch_contrast(x)
    mean, std = (x.new_tensor(values).view(1, -1, 1, 1) for values in (card.mean, card.std))
    return (x - mean) / std


def stretch_contrast(x: Tensor) -> Tensor:
    """Images (n, c, h, w) in 0..1, those with less than LEAST_CONTRAST stretched about mid-grey to
    CONTRAST; all others as they are.

    The haze of a P-OLED, fog on a lens or too little light leave a face a fraction of its contrast,
    and networks call such a face neutral.
    """
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    std = (x - mean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    # Of a constant image one grey level is the most that can be amplified.
    stretched = (x - mean) * (CONTRAST / std.clamp(min=1 / 255)) + 0.5
    return torch.where(std < LEAST_CONTRAST, stretched.clamp(0, 1), x)


def tile_to_input(tile_px: int, input_px: int) -> Tensor:
    """The resampling from a tile to a network's input along one side: (input_px, tile_px) float32.

    M @ tile @ M.T is `to_model_input(crops_from_tiles(tile))` but for the rounding to 8 bits and
    the normalisation: for training, where tiles change before they become crops.
    """
    basis = np.eye(tile_px, dtype=np.float32)
    how = cv2.INTER_AREA if tile_px > CROP_PX else cv2.INTER_CUBIC
    to_crop = torch.from_numpy(cv2.resize(basis, (tile_px, CROP_PX), interpolation=how))
    return _resampling(CROP_PX, input_px) @ to_crop if input_px != CROP_PX else to_crop


def _resampling(size: int, target: int) -> Tensor:
    """The matrix (target, size) float32 that resamples `size` pixels to `target` along one side:
    the area average where it shrinks, Keys' cubic (a = -0.75) where it enlarges."""
    if target <= size:
        return _area_average(size, target)
    basis = np.eye(size, dtype=np.float32)
    return torch.from_numpy(cv2.resize(basis, (size, target), interpolation=cv2.INTER_CUBIC))


def _area_average(size: int, smaller: int) -> Tensor:
    """(smaller, size) float32: row i averages the source pixels under new pixel i."""
    edges = torch.linspace(0, size, smaller + 1, dtype=torch.float64)
    pixels = torch.arange(size, dtype=torch.float64)
    low = torch.maximum(edges[:-1, None], pixels[None, :])
    high = torch.minimum(edges[1:, None], pixels[None, :] + 1)
    return ((high - low).clamp(min=0) * smaller / size).float()
