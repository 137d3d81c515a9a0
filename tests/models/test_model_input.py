"""The one way to a network's input, at any size: against OpenCV on the same pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import pytest
import torch

from models.crops import CROP_PX, Crops, crops_from_tiles
from models.model_input import (
    CONTRAST,
    LEAST_CONTRAST,
    stretch_contrast,
    tile_to_input,
    to_model_input,
)
from models.weights import ModelCard

MakeCard = Callable[..., ModelCard]


@pytest.mark.parametrize("px", [150, 224])
def test_a_larger_input_is_enlarged_cubically(make_card: MakeCard, crops: Crops, px: int) -> None:
    x = to_model_input(crops, make_card(input_px=px, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3))
    assert x.shape == (len(crops), 3, px, px)
    for ours, crop in zip(x, crops, strict=True):
        light = crop.astype(np.float32) / 255
        expected = cv2.resize(light, (px, px), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_allclose(ours.permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("px", [28, 56])
def test_a_smaller_input_averages_areas(make_card: MakeCard, crops: Crops, px: int) -> None:
    x = to_model_input(crops, make_card(input_px=px, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3))
    for ours, crop in zip(x, crops, strict=True):
        expected = cv2.resize(crop.astype(np.float32) / 255, (px, px), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(ours.permute(1, 2, 0), expected, atol=1e-5)


def area_reference(row: list[float], target: int) -> list[float]:
    """Means over [i, i + 1) * size / target of a row that is constant on each pixel."""
    shares = area_shares(len(row), target)
    return [sum(share * v for share, v in zip(of, row, strict=True)) for of in shares]


@cache
def area_shares(size: int, target: int) -> list[list[float]]:
    shares = []
    for i in range(target):
        low, high = Fraction(i * size, target), Fraction((i + 1) * size, target)
        covered = [max(min(high, k + 1) - max(low, k), Fraction(0)) for k in range(size)]
        shares.append([float(part / (high - low)) for part in covered])
    return shares


def cubic_reference(row: list[float], target: int) -> list[float]:
    """Keys' kernel with a = -0.75 at the centres of the new pixels; the border is repeated."""

    def kernel(x: float) -> float:
        x, a = abs(x), -0.75
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    size, out = len(row), []
    for i in range(target):
        centre = (i + 0.5) * size / target - 0.5
        taps = range(math.floor(centre) - 1, math.floor(centre) + 3)
        out.append(sum(kernel(centre - k) * row[min(max(k, 0), size - 1)] for k in taps))
    return out


@pytest.mark.parametrize("px", [20, 48, 75, 96, 111, CROP_PX, 113, 128, 224, 300])
def test_resampling_follows_its_formula(make_card: MakeCard, crops: Crops, px: int) -> None:
    """Area averages down, Keys' cubic up, written out without OpenCV and torch."""
    reference = area_reference if px <= CROP_PX else cubic_reference
    light = crops[0, :, :, 1] / 255
    rows = np.array([reference(row.tolist(), px) for row in light])
    expected = np.array([reference(column.tolist(), px) for column in rows.T]).T
    card = make_card(input_px=px, channels=3, mean=(0.0, 0.25, 0.0), std=(1.0, 0.5, 1.0))
    found = to_model_input(crops[:1], card)[0, 1]
    np.testing.assert_allclose(found, (expected - 0.25) / 0.5, atol=1e-4)


def test_channels_are_normalised_each_by_its_own(make_card: MakeCard, crops: Crops) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)
    x = to_model_input(crops, make_card(input_px=CROP_PX, channels=3, mean=mean, std=std))
    np.testing.assert_allclose(x.permute(0, 2, 3, 1), (crops / 255 - mean) / std, atol=1e-5)


@pytest.mark.parametrize("px", [48, 96, CROP_PX, 150])
def test_tiles_go_the_same_way_in_training(make_card: MakeCard, px: int) -> None:
    """But for the rounding to 8 bits in between: smooth tiles, without overshoot."""
    tile = cv2.resize(
        np.random.default_rng(4).integers(20, 236, (6, 6)).astype(np.float32), (48, 48)
    ).round()
    served = to_model_input(
        crops_from_tiles(tile[None].astype(np.uint8)),
        make_card(input_px=px, mean=(0.0,), std=(1.0,)),
    )
    matrix = tile_to_input(48, px)
    trained = matrix @ torch.from_numpy(tile / 255) @ matrix.T
    torch.testing.assert_close(served[0, 0], trained, atol=0.01, rtol=0)


def make_images(std: float, n: int = 4) -> torch.Tensor:
    """Images whose pixels have this standard deviation, about another mean each."""
    drawn = torch.rand(n, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    deviation, mean = torch.std_mean(drawn, dim=(1, 2, 3), correction=0, keepdim=True)
    means = torch.linspace(0.3, 0.7, n).view(n, 1, 1, 1)
    return (drawn - mean) / deviation * std + means


def test_faces_of_enough_contrast_stay_as_they_are() -> None:
    x = make_images(LEAST_CONTRAST * 1.01)
    assert torch.equal(stretch_contrast(x), x)


@pytest.mark.parametrize("std", [0.005, 0.04, LEAST_CONTRAST * 0.99])
def test_a_face_of_little_contrast_is_stretched_about_mid_grey(std: float) -> None:
    deviation, mean = torch.std_mean(
        stretch_contrast(make_images(std)), dim=(1, 2, 3), correction=0
    )
    assert deviation.tolist() == pytest.approx([CONTRAST] * 4, abs=1e-4)
    assert mean.tolist() == pytest.approx([0.5] * 4, abs=1e-4)


def test_a_haze_of_any_depth_gives_the_same_input(make_card: MakeCard, crops: Crops) -> None:
    """But for what eight bits lose of it."""
    card = make_card()
    hazed = [
        to_model_input(np.rint(crops * share + 255 * (1 - share) * light).astype(np.uint8), card)
        for share, light in ((0.3, 0.5), (0.3, 0.9), (0.25, 0.7))
    ]
    assert (hazed[0] - hazed[1]).abs().mean() < 0.03
    assert (hazed[0] - hazed[2]).abs().mean() < 0.05
    assert hazed[0].std() > 0.5


def test_an_image_of_one_grey_is_mid_grey() -> None:
    grey = torch.full((2, 3, 8, 8), 0.9)
    torch.testing.assert_close(stretch_contrast(grey), torch.full_like(grey, 0.5))
