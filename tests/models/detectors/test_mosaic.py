"""The geometry of mosaics: what is cut out and packed comes back to its place in the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.detectors.base import Image
from models.detectors.mosaic import (
    CELL_PX,
    LARGE_PX,
    LARGE_SHARE,
    STEP_PX,
    Mosaic,
    surrounding_squares,
)
from models.faces import Faces, Float32, iou

WIDTH, HEIGHT = 640, 360
PLACES = st.tuples(
    st.floats(0, WIDTH - 20), st.floats(0, HEIGHT - 20), st.floats(24, 150), st.floats(24, 150)
)


def boxes_of(places: list[tuple[float, float, float, float]]) -> Float32:
    x, y, w, h = np.array(places, np.float32).T
    return np.stack([x, y, x + w, y + h], axis=1)


def faces_of(boxes: Float32) -> Faces:
    n = len(boxes)
    landmarks = np.repeat(((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None], 5, axis=1)
    return Faces(boxes.astype(np.float32), np.linspace(1, 0.5, n, dtype=np.float32), landmarks)


def to_cell(mosaic: Mosaic, number: int, boxes: Float32) -> Float32:
    """Boxes of the image where a cell shows them, by the definition of a cell."""
    square = mosaic._squares[number]
    row, column = mosaic._origin(number)
    corner = np.array([square.left, square.top] * 2)
    return ((boxes - corner) * CELL_PX / square.side + [column, row, column, row]).astype(
        np.float32
    )


@given(st.lists(PLACES, min_size=1, max_size=9))
def test_a_face_fits_into_its_cell_and_is_near_its_middle(
    places: list[tuple[float, float, float, float]],
) -> None:
    boxes = boxes_of(places)
    for box, square in zip(boxes, surrounding_squares(boxes), strict=True):
        side = float((box[2:] - box[:2]).max())
        wanted = CELL_PX if side <= LARGE_PX else side / LARGE_SHARE
        assert square.side == pytest.approx(wanted, abs=1)
        offset = (box[:2] + box[2:]) / 2 - square.side / 2 - [square.left, square.top]
        is_scaled = square.side > CELL_PX
        assert (np.abs(offset) <= (1 if is_scaled else STEP_PX / 2 + 0.01)).all()
        assert is_scaled or square.left % STEP_PX == square.top % STEP_PX == 0


@given(st.lists(PLACES, min_size=1, max_size=9))
def test_what_a_cell_shows_comes_back_to_its_place(
    places: list[tuple[float, float, float, float]],
) -> None:
    boxes = boxes_of(places)
    mosaic = Mosaic(surrounding_squares(boxes), WIDTH, HEIGHT)
    for number, box in enumerate(boxes):
        found, _ = mosaic.to_image(faces_of(to_cell(mosaic, number, box[None])))
        assert np.allclose(found.boxes, box[None], atol=0.01)
        assert np.allclose(found.landmarks[0], (box[:2] + box[2:]) / 2, atol=0.01)


@given(st.integers(1, 40))
def test_cells_do_not_overlap_and_fill_rows(number: int) -> None:
    mosaic = Mosaic(surrounding_squares(boxes_of([(9, 9, 30, 30)] * number)), WIDTH, HEIGHT)
    origins = [mosaic._origin(n) for n in range(number)]
    assert len(set(origins)) == number
    assert max(row for row, _ in origins) == mosaic.shape[0] - CELL_PX
    assert all(column <= mosaic.shape[1] - CELL_PX for _, column in origins)
    assert mosaic.shape[0] * mosaic.shape[1] / CELL_PX**2 - number < mosaic.shape[1] / CELL_PX


def bright_boxes(image: Image) -> Float32:
    """The one bright rectangle of an image, to a fraction of a pixel by what its edges keep."""
    share = image[:, :, 0].astype(float) / 255
    rows, columns = share.max(axis=1), share.max(axis=0)
    first = [int(np.flatnonzero(line > 0.5)[0]) for line in (columns, rows)]
    last = [int(np.flatnonzero(line > 0.5)[-1]) + 1 for line in (columns, rows)]
    return np.array([[*first, *last]], np.float32)


@given(st.floats(0, 560), st.floats(0, 280), st.integers(30, 200), st.floats(-0.3, 0.3))
def test_a_bright_square_is_found_where_it_is(
    left: float, top: float, side: int, moved: float
) -> None:
    """Pixels, not formulas: also at the image's edge, and when it has moved since it was known."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x, y = round(left), round(top)
    image[y : y + side, x : x + side] = 255
    shown = np.array([[x, y, min(x + side, WIDTH), min(y + side, HEIGHT)]], np.float32)
    known = np.array([[x, y, x + side, y + side]], np.float32) + np.float32(moved * side)
    mosaic = Mosaic(surrounding_squares(known), WIDTH, HEIGHT)
    packed = mosaic.build(image)
    found, _ = mosaic.to_image(faces_of(bright_boxes(packed)))
    scale = mosaic._squares[0].side / CELL_PX
    assert np.allclose(found.boxes, shown, atol=1 + scale)


def test_what_the_image_does_not_show_is_black() -> None:
    image = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    known = boxes_of([(-30, -40, 100, 100), (WIDTH + 500, 0, 50, 50), (300, 100, 80, 80)])
    mosaic = Mosaic(surrounding_squares(known), WIDTH, HEIGHT)
    packed = mosaic.build(image)
    cells = [packed[r : r + CELL_PX, c : c + CELL_PX] for r, c in map(mosaic._origin, range(3))]
    assert 0.2 < (cells[0] == 0).mean() < 0.8
    assert not cells[1].any()
    assert (cells[2] == 200).all()


def test_a_small_face_is_shown_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    mosaic = Mosaic(surrounding_squares(boxes_of([(200, 100, 50, 60)])), WIDTH, HEIGHT)
    square = mosaic._squares[0]
    shown = image[square.top : square.top + CELL_PX, square.left : square.left + CELL_PX]
    assert np.array_equal(mosaic.build(image), shown)


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([40, 40, 90, 90], 1),  # in the middle of its cell
        ([0, 40, 60, 90], 0),  # cut by the cell's left edge
        ([100, 40, 140, 90], 0),  # across two cells: parts of two faces
        ([40, 100, 90, 128], 0),  # down to the lower edge
    ],
)
def test_a_face_across_the_edge_of_a_cell_is_none(box: list[float], kept: int) -> None:
    known = boxes_of([(200, 100, 64, 64), (400, 100, 64, 64)])
    mosaic = Mosaic(surrounding_squares(known), WIDTH, HEIGHT)
    whole, cut = mosaic.to_image(faces_of(np.array([box], np.float32)))
    assert (len(whole), len(cut)) == (kept, 1 - kept)


def test_a_face_at_the_edge_of_the_image_is_kept() -> None:
    mosaic = Mosaic(surrounding_squares(boxes_of([(-20, 100, 64, 64)])), WIDTH, HEIGHT)
    box = np.array([[-20, 100, 44, 164]], np.float32)
    found, _ = mosaic.to_image(faces_of(to_cell(mosaic, 0, box)))
    assert np.allclose(found.boxes, box, atol=0.01)


def test_a_face_that_two_cells_show_is_one() -> None:
    known = boxes_of([(200, 100, 60, 60), (230, 110, 60, 60)])
    mosaic = Mosaic(surrounding_squares(known), WIDTH, HEIGHT)
    twice = np.concatenate([to_cell(mosaic, number, known[:1]) for number in (0, 1)])
    found, _ = mosaic.to_image(faces_of(twice))
    assert len(found) == 1
    assert iou(found.boxes, known[:1])[0, 0] > 0.99


def test_no_square_no_face() -> None:
    empty: NDArray[np.float32] = np.zeros((0, 4), np.float32)
    assert surrounding_squares(empty) == []
    assert [len(part) for part in Mosaic([], WIDTH, HEIGHT).to_image(Faces.none())] == [
        0,
        0,
    ]
