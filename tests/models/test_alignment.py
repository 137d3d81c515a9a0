"""Alignment by five points: exact maps, least squares by a slow reference, weak points."""

from __future__ import annotations

import cmath

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.alignment import (
    LEAST_PX,
    TEMPLATE,
    align_tiles,
    find_corrections,
    fit_similarities,
    warp_square,
)
from models.faces import Float32

Float64 = NDArray[np.float64]
ONE, SIDE = np.ones(1, np.float32), np.full(1, 100, np.float32)
SIMILARITIES = st.tuples(
    st.floats(-170, 170), st.floats(0.3, 3), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)
)
Similarity = tuple[float, float, float, float]


def move(points: Float64, similarity: Similarity) -> Float64:
    """Points (..., 2) turned by degrees, scaled, and then shifted."""
    degrees, scale, x, y = similarity
    factor = cmath.rect(scale, np.radians(degrees))
    z = factor * (points @ np.array([1, 1j])) + complex(x, y)
    return np.stack([z.real, z.imag], axis=-1)


def unmove(points: Float64, similarity: Similarity) -> Float64:
    degrees, scale, x, y = similarity
    return move(points - np.array([x, y]), (-degrees, 1 / scale, 0, 0))


def noisy_points(seed: int, n: int = 4) -> Float32:
    rng = np.random.default_rng(seed)
    return (TEMPLATE + rng.normal(0, 0.05, (n, 5, 2))).astype(np.float32)


def apply(matrix: Float64, points: Float64) -> Float64:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


@given(SIMILARITIES)
def test_a_known_similarity_is_recovered(similarity: Similarity) -> None:
    degrees, scale, x, y = similarity
    points = unmove(TEMPLATE, similarity)[None].astype(np.float32)
    found = fit_similarities(points)
    np.testing.assert_allclose(found.rotations, degrees, atol=1e-3)
    np.testing.assert_allclose(found.scales, scale, rtol=1e-5)
    np.testing.assert_allclose(found.matrices()[0, :, 2], [x, y], atol=1e-5)
    np.testing.assert_allclose(found.residuals, 0, atol=1e-5)
    np.testing.assert_allclose(apply(found.matrices()[0], points[0]), TEMPLATE, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_least_squares_of_all_similarities(seed: int) -> None:
    points = noisy_points(seed)
    found = fit_similarities(points)
    for row, five in enumerate(points.astype(float)):
        # u = a x - b y + c, v = b x + a y + d: two equations a point in a, b, c, d
        x, y, one, no = *five.T, np.ones(5), np.zeros(5)
        equations = np.vstack([np.stack([x, -y, one, no], 1), np.stack([y, x, no, one], 1)])
        (a, b, c, d), *_ = np.linalg.lstsq(equations, TEMPLATE.T.ravel(), rcond=None)
        wanted = np.array([[a, -b, c], [b, a, d]])
        np.testing.assert_allclose(found.matrices()[row], wanted, atol=1e-9)
        errors = apply(wanted, five) - TEMPLATE
        np.testing.assert_allclose(found.residuals[row], np.sqrt((errors**2).sum(1).mean()))


@given(SIMILARITIES, st.integers(0, 9))
def test_wherever_a_face_is_it_is_brought_to_the_same_place(
    similarity: Similarity, seed: int
) -> None:
    points = noisy_points(seed).astype(np.float64)
    still = fit_similarities(points).matrices()  # type: ignore[arg-type]
    moved = move(points, similarity)
    found = fit_similarities(moved).matrices()  # type: ignore[arg-type]
    for row in range(len(points)):
        expected, got = apply(still[row], points[row]), apply(found[row], moved[row])
        np.testing.assert_allclose(got, expected, atol=1e-9)


def test_a_face_is_never_mirrored() -> None:
    points = noisy_points(3)
    points[:, :, 0] = 1 - points[:, :, 0]  # each eye where the other one is
    assert (np.linalg.det(fit_similarities(points).matrices()[:, :, :2]) > 0).all()


def test_the_mirror_image_of_a_face_is_aligned_to_the_mirror_image() -> None:
    points = noisy_points(4)
    mirrored = points[:, [1, 0, 2, 4, 3]] * np.float32([-1, 1]) + np.float32([1, 0])
    a, b = fit_similarities(points), fit_similarities(mirrored)
    np.testing.assert_allclose(a.rotations, -b.rotations, atol=1e-4)
    np.testing.assert_allclose(a.scales, b.scales, atol=1e-6)
    np.testing.assert_allclose(a.moves, b.moves, atol=1e-6)


@pytest.mark.parametrize(
    ("similarity", "score", "side", "bent", "is_strong"),
    [
        ((20.0, 1.2, 0.0, 0.0), 0.9, 100.0, 0.0, True),
        ((-20.0, 0.8, 0.2, 0.1), 0.31, float(LEAST_PX), 0.05, True),
        ((0.0, 1.0, 0.0, 0.0), 0.29, 100.0, 0.0, False),  # the detector is not sure
        ((0.0, 1.0, 0.0, 0.0), 0.9, LEAST_PX - 1.0, 0.0, False),  # too small
        ((0.0, 1.0, 0.0, 0.0), 0.9, 100.0, 0.3, False),  # a nose where none is
        ((55.0, 1.0, 0.0, 0.0), 0.9, 100.0, 0.0, False),  # turned too far
        ((0.0, 1.6, 0.0, 0.0), 0.9, 100.0, 0.0, False),  # too small in its square
        ((0.0, 0.6, 0.0, 0.0), 0.9, 100.0, 0.0, False),  # too large in it
        ((0.0, 1.0, 0.4, 0.0), 0.9, 100.0, 0.0, False),  # beside it
    ],
)
def test_weak_points_correct_nothing(
    similarity: Similarity, score: float, side: float, bent: float, is_strong: bool
) -> None:
    # Here about the middle of the square, which the shift alone then moves.
    points = (unmove(TEMPLATE - 0.5, similarity) + 0.5)[None].astype(np.float32)
    points[0, 2, 0] += bent
    given = np.array([score], np.float32), np.array([side], np.float32)
    found = find_corrections(points, *given)
    assert np.isfinite(found).all() == is_strong
    assert np.isnan(found).all() != is_strong


def test_points_that_are_all_one_or_no_numbers_are_weak() -> None:
    points = np.array([np.full((5, 2), 0.5), np.full((5, 2), np.nan)], np.float32)
    assert np.isnan(find_corrections(points, ONE.repeat(2), SIDE.repeat(2))).all()


def test_no_face_is_no_correction() -> None:
    none = np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32)
    assert find_corrections(*none).shape == (0, 2, 3)


IDENTITY = np.eye(2, 3)


@pytest.mark.parametrize("shape", [(48, 48), (48, 48, 3)])
def test_the_identity_changes_no_pixel_and_a_shift_by_pixels_only_moves_them(
    shape: tuple[int, ...],
) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(warp_square(image, 0, 0, 48, IDENTITY, 48), image)
    right = IDENTITY + np.array([[0, 0, 5 / 48], [0, 0, 0]])
    moved = warp_square(image, 0, 0, 48, right, 48)
    assert np.array_equal(moved[:, 5:], image[:, :-5])
    assert (moved[:, :5] == image[:, :1]).all()  # the border, repeated
    assert np.array_equal(warp_square(image, 8, 4, 32, IDENTITY, 32), image[4:36, 8:40])


def smooth_face(similarity: Similarity, px: int = 96) -> NDArray[np.uint8]:
    """Blobs at the template's points, as `similarity` moves them, in shares of the side."""
    y, x = (np.mgrid[:px, :px] + 0.5) / px
    size = 0.06 * similarity[1]
    image = np.full((px, px), 40.0)
    for (cx, cy), level in zip(move(TEMPLATE, similarity), (200, 150, 100, 180, 120), strict=True):
        image += level * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * size**2))
    return np.clip(image, 0, 255).astype(np.uint8)


def test_turned_faces_become_the_upright_one() -> None:
    places = [(0.0, 1.0, 0.0, 0.0), (15.0, 0.9, 0.15, -0.05), (-25.0, 1.1, -0.15, 0.15)]
    tiles = np.stack([smooth_face(place) for place in places])
    points = np.stack([move(TEMPLATE, place) for place in places]).astype(np.float32)
    aligned = align_tiles(tiles, points, ONE.repeat(3)).astype(float)
    before = np.abs(tiles[1:] - aligned[0]).mean(axis=(1, 2))
    after = np.abs(aligned[1:] - aligned[0]).mean(axis=(1, 2))
    assert (after < 0.6).all(), after
    assert (before > 8).all(), before


def test_tiles_of_weak_points_stay_as_they_are() -> None:
    tiles = np.stack([smooth_face((15.0, 0.9, 0.15, -0.05))] * 2)
    points = np.stack([move(TEMPLATE, (15.0, 0.9, 0.15, -0.05))] * 2).astype(np.float32)
    colour = np.stack([cv2.cvtColor(tile, cv2.COLOR_GRAY2RGB) for tile in tiles])
    for images in (tiles, colour):
        aligned = align_tiles(images, points, np.array([0.1, 0.9], np.float32))
        assert np.array_equal(aligned[0], images[0])
        assert not np.array_equal(aligned[1], images[1])


def test_the_template_is_its_own_mirror_image() -> None:
    mirrored = TEMPLATE[[1, 0, 2, 4, 3]] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(mirrored, TEMPLATE, atol=1e-12)
