"""Points of a real face stand where eyes, nose and mouth are; of no face there are none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from models.emotions import EMOTIONS
from trainer.data.faceset import FaceSet
from trainer.objectives import landmarks
from trainer.objectives.landmarks import FACE_PX, MARGIN_PX, annotate, find_points, pad_tile
from trainer.objectives.points import FLIPPED, PointLabels

FACE = (slice(60, 205), slice(150, 295))
"""Where the woman's face is in the photograph."""


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """A face of 48 pixels, its mirror image, and nothing."""
    tile = cv2.resize(astronaut()[FACE], (48, 48), interpolation=cv2.INTER_AREA)
    blank = np.full_like(tile, 90)
    tiles = np.stack([tile, tile[:, ::-1], blank])
    return FaceSet.of_labels("photograph", EMOTIONS, tiles, np.zeros(3, np.int64))


def test_points_of_a_face_of_its_mirror_image_and_of_nothing(faces: FaceSet) -> None:
    points, found = find_points(faces)
    assert found.tolist() == [True, True, False]
    right_eye, left_eye, nose, right_mouth, left_mouth = points[0]
    assert 0.2 < right_eye[0] < nose[0] < left_eye[0] < 0.8
    assert right_mouth[0] < nose[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1]) < 0.95
    mirrored = points[1][FLIPPED] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(mirrored, points[0], atol=0.04)


@pytest.mark.parametrize("shape", [(48, 48), (48, 48, 3), (100, 100)])
def test_a_tile_stands_in_the_middle_of_its_picture(shape: tuple[int, ...]) -> None:
    tile: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    picture = pad_tile(tile)
    side = FACE_PX + 2 * MARGIN_PX
    assert picture.shape == (side, side, 3)
    assert picture.dtype == np.uint8
    middle = picture[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    enlarged = cv2.resize(tile, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(middle, enlarged if tile.ndim == 3 else np.stack([enlarged] * 3, axis=2))


def test_the_detector_is_asked_once(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotate(faces, tmp_path / "run")
    kept = PointLabels.of(faces, tmp_path / "run")
    assert kept.found.tolist() == [True, True, False]
    monkeypatch.setattr(landmarks, "open_detector", None)
    annotate(faces, tmp_path / "run")
    assert np.array_equal(PointLabels.of(faces, tmp_path / "run").points, kept.points)
