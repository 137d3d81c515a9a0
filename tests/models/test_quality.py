"""Blur, noise and brightness of real faces, spoilt by known amounts."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from models.crops import Crops, crop_faces, crops_from_tiles
from models.errors import ModelError
from models.faces import Faces, Float32
from models.quality import QualityMeasures, estimate_noise, estimate_noise_of_levels, measure

ASTRONAUT = np.float32([[170, 65, 280, 205]])
LUMA_OF_RGB_NOISE = float(np.linalg.norm([0.299, 0.587, 0.114]))


def boxes_of(n: int, width: float = 150, height: float = 200) -> Float32:
    return np.tile(np.float32([[0, 0, width, height]]), (n, 1))


def measured(crops: Crops) -> QualityMeasures:
    """Of crops that were not enlarged."""
    return measure(crops, boxes_of(len(crops)))


def blurred(crops: Crops, sigma: float) -> Crops:
    return np.stack([cv2.GaussianBlur(crop, (0, 0), sigma) for crop in crops])


def noisy(crops: Crops, sigma: float, seed: int = 0) -> Crops:
    noise = np.random.default_rng(seed).normal(size=crops.shape) * sigma
    return np.clip(crops + noise, 0, 255).round().astype(np.uint8)


def dimmed(crops: Crops, gain: float, offset: float = 0) -> Crops:
    return np.clip(crops * gain + offset, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def astronaut() -> Crops:
    face = Faces(ASTRONAUT, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
    return crop_faces(skimage.data.astronaut(), face)


@pytest.fixture(
    scope="module", params=["astronaut", pytest.param("ferplus", marks=pytest.mark.needs("data"))]
)
def crops(request: pytest.FixtureRequest, astronaut: Crops) -> Crops:
    """Real faces: one in colour, or sixty of FER+."""
    if request.param == "astronaut":
        return astronaut
    path = Path(os.environ["UNDERCAM_DATA"]) / "data/ferplus/public_test.webp"
    sheet = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., 0]
    tiles = sheet.reshape(-1, 48, 340, 48).swapaxes(1, 2).reshape(-1, 48, 48)
    return crops_from_tiles(tiles[:3000:50])


def test_each_face_that_is_blurred_more_is_called_so(crops: Crops) -> None:
    blurs = [measured(crops).blur] + [
        measured(blurred(crops, sigma)).blur for sigma in (0.7, 1, 1.5, 2, 3, 4, 6)
    ]
    assert np.all(np.diff(blurs, axis=0) > 0)
    medians = np.median(blurs, axis=1)
    assert medians[0] < 0.2  # as it is
    assert 0.35 < medians[4] < 0.45  # sigma 2
    assert medians[-1] > 0.75


@pytest.mark.parametrize(("gain", "offset"), [(0.7, 0), (0.5, 0), (0.5, 100), (0.25, 0)])
@pytest.mark.parametrize("sigma", [0.5, 2])
def test_blur_does_not_depend_on_light(
    crops: Crops, sigma: float, gain: float, offset: float
) -> None:
    faces = blurred(crops, sigma)
    difference = measured(dimmed(faces, gain, offset)).blur - measured(faces).blur
    assert np.abs(difference).max() < 0.025


@pytest.mark.parametrize("sigma", [5, 10, 20, 40])
def test_noise_does_not_make_a_blurred_face_sharp(crops: Crops, sigma: float) -> None:
    faces = blurred(crops, 2)
    difference = measured(noisy(faces, sigma)).blur - measured(faces).blur
    assert np.median(difference) > -0.01
    assert difference.min() > -0.12


def test_noise_alone_is_no_sharp_face() -> None:
    grey = np.full((20, 112, 112, 3), 128, np.uint8)
    assert measured(noisy(grey, 30)).blur.min() > 0.6


def test_a_crop_without_anything_on_it_is_blurred() -> None:
    quality = measured(np.full((1, 112, 112, 3), 51, np.uint8))
    assert quality.blur == 1
    assert quality.noise == 0
    assert quality.luma == pytest.approx(0.2)


@pytest.mark.parametrize("sigma", [4, 8, 16, 24])
def test_noise_is_measured_as_much_as_was_added(crops: Crops, sigma: float) -> None:
    faces = blurred(crops, 1)
    added = sigma * LUMA_OF_RGB_NOISE / 255
    expected = np.hypot(measured(faces).noise, added)
    ratios = measured(noisy(faces, sigma)).noise / expected
    assert np.median(ratios) == pytest.approx(1, abs=0.12)
    assert np.abs(ratios - 1).max() < 0.35  # black and white areas cannot show all of it


def test_each_face_with_more_noise_is_called_so(crops: Crops) -> None:
    noise = [measured(crops).noise]
    noise += [measured(noisy(crops, sigma)).noise for sigma in (2, 5, 10, 20, 40)]
    assert np.all(np.diff(noise, axis=0) > 0)


@pytest.mark.parametrize("px", [48, 64, 80])
def test_a_small_face_is_measured_as_the_camera_saw_it(astronaut: Crops, px: int) -> None:
    """Enlarging to 112 makes nothing blurred, and does not hide noise among the detail."""
    small = cv2.resize(astronaut[0], (px, px), interpolation=cv2.INTER_AREA)[None]
    enlarged = np.stack(
        [
            cv2.resize(x, (112, 112), interpolation=cv2.INTER_CUBIC)
            for x in (*small, *noisy(small, 15))
        ]
    )
    plain, spoilt = (measure(crop[None], boxes_of(1, px, px)) for crop in enlarged)
    assert plain.blur < measured(astronaut).blur
    assert spoilt.blur == pytest.approx(plain.blur, abs=0.03)
    assert spoilt.noise[0] == pytest.approx(15 * LUMA_OF_RGB_NOISE / 255, rel=0.35)


def test_a_narrow_face_is_measured_by_its_longer_side(astronaut: Crops) -> None:
    """As it is cropped."""
    narrow, square = (measure(astronaut, boxes_of(1, width, 80)) for width in (50, 80))
    assert (narrow.blur, narrow.noise) == (square.blur, square.noise)


def test_luma_is_the_mean_of_the_crop(astronaut: Crops) -> None:
    expected = (astronaut[0] @ np.array([0.299, 0.587, 0.114])).mean() / 255
    assert measured(astronaut).luma == pytest.approx(expected, abs=2e-3)
    white = np.full((1, 112, 112, 3), 255, np.uint8)
    assert measured(white).luma == 1


def test_size_is_the_shorter_side_of_the_box(astronaut: Crops) -> None:
    assert measure(astronaut, np.float32([[10, 20, 43, 90]])).size_px == 33


def test_each_look_is_measured_by_itself(crops: Crops) -> None:
    together = measured(crops)
    alone = measured(crops[-1:])
    assert (alone.blur, alone.noise, alone.luma) == (
        together.blur[-1],
        together.noise[-1],
        together.luma[-1],
    )


def test_no_looks_have_no_measures() -> None:
    quality = measured(np.zeros((0, 112, 112, 3), np.uint8))
    assert len(quality) == 0
    assert quality.weights(np.zeros(0, np.float32)).shape == (0,)


def test_crops_of_another_shape_are_refused() -> None:
    with pytest.raises(ModelError, match="96, 96"):
        measure(np.zeros((1, 96, 96, 3), np.uint8), boxes_of(1))


def test_weights_follow_their_formula() -> None:
    quality = QualityMeasures(
        blur=np.float32([0, 0.5, 0, 1]),
        noise=np.zeros(4, np.float32),
        luma=np.ones(4, np.float32),
        size_px=np.float32([56, 112, 400, 112]),
    )
    weights = quality.weights(np.float32([0.8, 0.6, 1, 1]))
    assert weights == pytest.approx([0.4, 0.3, 1, 0])


@pytest.mark.parametrize("sigma", [0.0, 0.6, 5.0, 60.0])
@pytest.mark.parametrize("shape", [(320, 320), (33, 31), (3, 4), (1, 1)])
def test_counting_levels_gives_the_same_noise_as_sorting(
    shape: tuple[int, int], sigma: float
) -> None:
    noise = np.random.default_rng(2).normal(120, sigma, shape)
    luma = np.clip(noise, 0, 255).astype(np.uint8)
    slow = estimate_noise(luma.astype(np.float32))
    assert estimate_noise_of_levels(luma) == pytest.approx(slow, rel=1e-6)
