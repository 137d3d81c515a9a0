"""Box arithmetic against slow, obvious answers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.faces import (
    Faces,
    Float32,
    areas,
    from_ltwh,
    iou,
    non_maximum_suppression,
    to_unit,
)

SIDE = 12


def f32(values: object) -> Float32:
    return np.array(values, np.float32)


@st.composite
def whole_boxes(draw: st.DrawFn) -> Float32:
    """Up to six boxes with whole corners on a small grid, empty ones included."""
    corners = draw(st.lists(st.tuples(*[st.integers(0, SIDE)] * 4), max_size=6))
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    return np.array(boxes, np.float32).reshape(-1, 4)


@st.composite
def some_faces(draw: st.DrawFn) -> Faces:
    boxes = draw(whole_boxes())
    count = len(boxes)
    scores = draw(arrays(np.float32, count, elements=st.floats(0, 1, width=32)))
    points = draw(arrays(np.float32, (count, 5, 2), elements=st.integers(0, SIDE)))
    return Faces(boxes, scores, points)


def painted(box: Float32) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The pixels of a box, counted one by one."""
    x0, y0, x1, y1 = box.astype(int)
    grid = np.zeros((SIDE, SIDE), bool)
    grid[y0:y1, x0:x1] = True
    return grid


@given(whole_boxes(), whole_boxes())
def test_iou_counts_pixels(a: Float32, b: Float32) -> None:
    found = iou(a, b)
    assert found.shape == (len(a), len(b))
    assert found.dtype == np.float32
    for i, first in enumerate(a):
        for j, second in enumerate(b):
            union = (painted(first) | painted(second)).sum()
            shared = (painted(first) & painted(second)).sum()
            assert found[i, j] == pytest.approx(shared / union if union else 0)


@given(whole_boxes(), whole_boxes())
def test_iou_is_symmetric(a: Float32, b: Float32) -> None:
    assert np.array_equal(iou(a, b), iou(b, a).T)


@given(whole_boxes())
def test_areas_count_pixels(boxes: Float32) -> None:
    assert areas(boxes).tolist() == [painted(box).sum() for box in boxes]


def test_a_turned_over_box_is_empty() -> None:
    turned = f32([[2, 2, 1, 1]])
    assert areas(turned).tolist() == [0]
    assert iou(turned, turned).tolist() == [[0]]


@given(whole_boxes())
def test_left_top_width_height_comes_back(boxes: Float32) -> None:
    written = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    assert np.array_equal(from_ltwh(written), boxes)
    assert from_ltwh(written).dtype == np.float32


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 200, 100], [0, 0, 1, 1]),
        ([50, 25, 100, 75], [0.25, 0.25, 0.5, 0.75]),
        ([-10, -10, 300, 50], [0, 0, 1, 0.5]),  # reaches beyond the image
    ],
)
def test_to_unit(box: list[float], expected: list[float]) -> None:
    assert to_unit(f32([box]), width=200, height=100).tolist() == [expected]


@given(some_faces(), st.floats(0, 1))
def test_suppression_keeps_the_best_of_every_heap(faces: Faces, overlap: float) -> None:
    kept = non_maximum_suppression(faces, overlap)
    assert all(a >= b for a, b in pairwise(kept.scores))
    among_kept = iou(kept.boxes, kept.boxes)
    np.fill_diagonal(among_kept, 0)
    assert (among_kept <= overlap).all()
    better = faces.scores[:, None] <= kept.scores[None, :]
    covered = (iou(faces.boxes, kept.boxes) > overlap) & better
    rows = {(*box, score) for box, score in zip(kept.boxes, kept.scores, strict=True)}
    for i, box in enumerate(faces.boxes):
        assert (*box, faces.scores[i]) in rows or covered[i].any()


def test_suppression_of_equal_scores_keeps_the_first() -> None:
    boxes = f32([[0, 0, 10, 10], [0, 0, 10, 9]])
    faces = Faces(boxes, f32([0.5, 0.5]), np.zeros((2, 5, 2), np.float32))
    assert non_maximum_suppression(faces, 0.4).boxes.tolist() == [[0, 0, 10, 10]]


@given(some_faces())
def test_moving_there_and_back(faces: Faces) -> None:
    there = faces.transform(scale=2, offset_x=3, offset_y=-4)
    back = there.transform(scale=0.5, offset_x=-6, offset_y=8)
    assert np.array_equal(back.boxes, faces.boxes)
    assert np.array_equal(back.landmarks, faces.landmarks)
    assert np.array_equal(there.scores, faces.scores)
    assert np.allclose(areas(there.boxes), 4 * areas(faces.boxes))


def test_moving_by_hand() -> None:
    face = Faces(f32([[10, 20, 30, 40]]), np.ones(1, np.float32), np.ones((1, 5, 2), "f4"))
    moved = face.transform(0.5, offset_x=10, offset_y=20)
    assert moved.boxes.tolist() == [[0, 0, 10, 10]]
    assert moved.landmarks[0, 0].tolist() == [-4.5, -9.5]


@given(some_faces())
def test_rows_are_chosen_together(faces: Faces) -> None:
    chosen = faces[faces.scores > 0.5]
    assert len(chosen) == (faces.scores > 0.5).sum()
    assert len(faces[:0]) == len(Faces.none()) == 0
    order = np.argsort(faces.scores)
    assert np.array_equal(faces[order].landmarks, faces.landmarks[order])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boxes": np.zeros((2, 5), "f4")}, "boxes: expected (2, 4) float32, got (2, 5) float32"),
        ({"boxes": np.zeros((2, 4))}, "boxes: expected (2, 4) float32, got (2, 4) float64"),
        ({"scores": np.zeros(3, "f4")}, "scores: expected (2,) float32, got (3,) float32"),
        ({"landmarks": np.zeros((2, 5), "f4")}, "landmarks: expected (2, 5, 2) float32"),
    ],
    ids=["width", "type", "count", "points"],
)
def test_a_wrong_shape_is_named(change: dict[str, Any], said: str) -> None:
    fields = {
        "boxes": np.zeros((2, 4), "f4"),
        "scores": np.zeros(2, "f4"),
        "landmarks": np.zeros((2, 5, 2), "f4"),
    }
    with pytest.raises(ValueError, match=r"expected .* got") as refused:
        Faces(**(fields | change))
    assert said in str(refused.value)
