"""Looking at a scaled image, once or twice, with a detector that follows a script."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.detectors.base import (
    Image,
    detect_at_scales,
    level_percentiles,
    pad_to_multiple,
    scale_image,
)
from models.faces import Faces

BOX = np.array([[10, 20, 30, 60]], np.float32)


class Scripted:
    """Finds one face at BOX when it is shown a longer side of one of `sides`; notes each look."""

    def __init__(self, *sides: int) -> None:
        self.sides = sides
        self.shown: list[tuple[int, ...]] = []

    def __call__(self, image: Image) -> Faces:
        self.shown.append(image.shape)
        if max(image.shape) not in self.sides:
            return Faces.none()
        return Faces(BOX, np.ones(1, np.float32), np.full((1, 5, 2), 25, np.float32))


def blank(height: int, width: int) -> Image:
    return np.zeros((height, width, 3), np.uint8)


def test_a_face_found_at_once_is_in_the_pictures_pixels() -> None:
    detect = Scripted(100)
    faces = detect_at_scales(blank(200, 400), 100, 300, detect)
    assert detect.shown == [(50, 100, 3)]
    assert np.array_equal(faces.boxes, BOX * 4)
    assert (faces.landmarks == 100).all()


def test_the_second_look_finds_what_the_first_misses() -> None:
    detect = Scripted(200)
    faces = detect_at_scales(blank(400, 200), 100, 200, detect)
    assert detect.shown == [(100, 50, 3), (200, 100, 3)]
    assert np.array_equal(faces.boxes, BOX * 2)


def test_no_second_look_where_none_is_asked_for() -> None:
    detect = Scripted(200)
    assert len(detect_at_scales(blank(400, 200), 100, 0, detect)) == 0
    assert detect.shown == [(100, 50, 3)]


def test_nobody_there_is_nobody_twice() -> None:
    detect = Scripted()
    assert len(detect_at_scales(blank(30, 40), 100, 200, detect)) == 0
    assert len(detect.shown) == 2


@pytest.mark.parametrize("height", [1, 2, 99, 480, 1000])
@pytest.mark.parametrize("width", [1, 3, 640, 999])
def test_scaled_to_the_longer_side(height: int, width: int) -> None:
    small, scale = scale_image(blank(height, width), 320)
    assert max(small.shape) == 320
    assert scale * max(height, width) == pytest.approx(320)
    assert abs(small.shape[0] - height * scale) <= 1
    assert abs(small.shape[1] - width * scale) <= 1


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(32, 64, 32, 64), (33, 1, 64, 32), (448, 335, 448, 352)],
)
def test_padded_below_and_to_the_right(height: int, width: int, rows: int, columns: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    out = pad_to_multiple(image, 32)
    assert out.shape == (rows, columns, 3)
    assert (out[:height, :width] == 200).all()
    assert not out[height:].any()
    assert not out[:, width:].any()


@given(st.lists(st.integers(0, 255), min_size=1, max_size=300), st.sampled_from([0, 1, 3, 25, 50]))
def test_percentiles_by_counting_are_those_by_sorting(levels: list[int], cut: float) -> None:
    array = np.array(levels, np.uint8)
    assert level_percentiles(array, cut) == pytest.approx(np.percentile(array, (cut, 100 - cut)))
