"""The one way to a network's input, at any size: against OpenCV on the same pixels."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from models.crops import CROP_PX, Crops, crops_from_tiles
from models.model_input import tile_to_input, to_model_input
from models.weights import ModelCard

MakeCard = Callable[..., ModelCard]


@pytest.mark.parametrize("px", [150, 224])
def test_a_larger_input_is_enlarged_cubically(make_card: MakeCard, crops: Crops, px: int) -> None:
    x = to_model_input(crops, make_card(input_px=px, channels=3, mean=0.0, std=1.0))
    assert x.shape == (len(crops), 3, px, px)
    for ours, crop in zip(x, crops, strict=True):
        light = crop.astype(np.float32) / 255
        expected = cv2.resize(light, (px, px), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_allclose(ours.permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("px", [28, 56])
def test_a_smaller_input_averages_areas(make_card: MakeCard, crops: Crops, px: int) -> None:
    x = to_model_input(crops, make_card(input_px=px, channels=3, mean=0.0, std=1.0))
    for ours, crop in zip(x, crops, strict=True):
        expected = cv2.resize(crop.astype(np.float32) / 255, (px, px), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(ours.permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("px", [48, 96, CROP_PX, 150])
def test_tiles_go_the_same_way_in_training(make_card: MakeCard, px: int) -> None:
    """But for the rounding to 8 bits in between: smooth tiles, without overshoot."""
    tile = cv2.resize(
        np.random.default_rng(4).integers(60, 190, (6, 6)).astype(np.float32), (48, 48)
    ).round()
    served = to_model_input(
        crops_from_tiles(tile[None].astype(np.uint8)), make_card(input_px=px, mean=0.0, std=1.0)
    )
    matrix = tile_to_input(48, px)
    trained = matrix @ torch.from_numpy(tile / 255) @ matrix.T
    torch.testing.assert_close(served[0, 0], trained, atol=0.01, rtol=0)
