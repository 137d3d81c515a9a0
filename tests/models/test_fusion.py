"""Crops of one face are aligned to parts of a pixel, and told apart when the face changes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from models.crops import CROP_PX
from models.fusion import Float32, compose_warps, find_alignment, is_still, warp_crop
from models.light import to_linear_light

SHIFTS = [(0.0, 0.0), (1.5, -0.75), (-4.25, 2.5), (0.3, 6.6)]


@pytest.fixture(scope="module")
def image() -> Float32:
    """A face with its surroundings, linear light, smooth enough to be moved exactly."""
    sharp = skimage.data.astronaut()[0:220, 110:330]
    return cv2.GaussianBlur(to_linear_light(sharp), (0, 0), 1.5)


def cut(image: Float32, dx: float = 0.0, dy: float = 0.0) -> Float32:
    """A crop whose left upper corner lies at (50 + dx, 40 + dy)."""
    warp = np.float32([[1, 0, 50 + dx], [0, 1, 40 + dy]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, warp, (CROP_PX, CROP_PX), flags=flags)


def noisy(light: Float32, sigma: float, seed: int) -> Float32:
    return light + np.random.default_rng(seed).normal(0, sigma, light.shape).astype(np.float32)


@pytest.mark.parametrize(("dx", "dy"), SHIFTS)
@pytest.mark.parametrize("sigma", [0.0, 0.08])
def test_a_moved_face_is_laid_back_to_parts_of_a_pixel(
    image: Float32, dx: float, dy: float, sigma: float
) -> None:
    first, second = noisy(cut(image), sigma, 1), noisy(cut(image, dx, dy), sigma, 2)
    warp = find_alignment(first, second)
    assert warp is not None
    centre = warp @ np.array([CROP_PX / 2, CROP_PX / 2, 1])
    wanted = np.array([CROP_PX / 2 + dx, CROP_PX / 2 + dy])
    assert np.abs(centre - wanted).max() < (0.1 if sigma == 0 else 0.4)


def test_what_is_laid_lies_where_the_other_is(image: Float32) -> None:
    first, second = cut(image), cut(image, 2.5, -1.25)
    warp = find_alignment(first, second)
    assert warp is not None
    inner = slice(12, -12)
    assert np.abs(warp_crop(first, warp) - second)[inner, inner].max() < 0.03
    assert np.abs(first - second)[inner, inner].max() > 0.2


def test_two_maps_are_one(image: Float32) -> None:
    first = np.float32([[0.8, 0.1, 12], [-0.1, 0.8, 10]])
    second = np.float32([[1, 0, -8], [0, 1, 5]])
    twice, once = (
        warp_crop(warp_crop(cut(image), first), second),
        warp_crop(cut(image), compose_warps(first, second)),
    )
    inner = slice(16, -16)
    assert np.abs(twice - once)[inner, inner].max() < 0.02
    assert (
        np.abs(twice - warp_crop(cut(image), compose_warps(second, first)))[inner, inner].max()
        > 0.05
    )


def test_different_pictures_do_not_fit(image: Float32) -> None:
    noise = np.random.default_rng(0).random((CROP_PX, CROP_PX, 3)).astype(np.float32)
    warp = find_alignment(noise, cut(image))
    assert warp is None or not is_still(cut(image), warp_crop(noise, warp))


@pytest.mark.parametrize("sigma", [0.0, 0.03, 0.1])
def test_noise_alone_is_no_change(image: Float32, sigma: float) -> None:
    face = cut(image)
    changed = sum(
        not is_still(noisy(face, sigma, seed), noisy(face, sigma, 1000 + seed))
        for seed in range(50)
    )
    assert changed == 0


@pytest.mark.parametrize("sigma", [0.0, 0.03, 0.1])
def test_a_mouth_that_opens_is_a_change(image: Float32, sigma: float) -> None:
    face = cut(image)
    open_mouth = face.copy()
    open_mouth[70:90, 40:72] = 0.35 * open_mouth[70:90, 40:72]
    before: NDArray[np.float32] = np.mean([noisy(face, sigma, s) for s in range(4)], axis=0)
    assert not is_still(noisy(open_mouth, sigma, 9), before)


def test_light_that_changes_everywhere_is_no_change_of_the_face(image: Float32) -> None:
    face = cut(image)
    assert is_still(face + 0.1, face)
