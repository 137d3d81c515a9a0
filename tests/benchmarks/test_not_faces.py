"""Squares of video that are no faces, and plain scores of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.not_faces import cut_squares, detail


def test_no_square_touches_a_face() -> None:
    frame = np.random.default_rng(0).integers(0, 120, (200, 300, 3)).astype(np.uint8)
    frame[50:150, 100:180] = 255
    face = np.array([[100, 50, 180, 150]], np.float32)
    squares = cut_squares([frame], [face], 30)
    assert squares.shape == (30, 48, 48)
    assert squares.max() < 255


def test_detail_does_not_depend_on_contrast() -> None:
    tiles = np.random.default_rng(0).normal(128, 20, (3, 48, 48))
    assert detail(tiles / 2) == pytest.approx(detail(tiles))
