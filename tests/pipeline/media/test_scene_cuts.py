from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.media.annotated_video import SceneCuts

BOX = np.array([10, 10, 30, 30], np.float32)


def flat(shade: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.full((height, width, 3), shade, np.uint8)


def test_the_first_frame_is_no_cut() -> None:
    cuts = SceneCuts()
    assert not cuts.has_changed(BOX)
    cuts.update(flat(9))
    assert not cuts.is_cut
    assert not cuts.has_changed(BOX)


def test_another_scene_is_one_for_one_frame() -> None:
    cuts, told = SceneCuts(), []
    for shade in (50, 52, 54, 120, 120, 50):
        cuts.update(flat(shade))
        told.append(cuts.is_cut)
    assert told == [False, False, False, True, False, True]


def test_steady_change_is_none_after_its_first_frame() -> None:
    cuts, told = SceneCuts(), []
    for shade in range(0, 200, 12):
        cuts.update(flat(shade))
        told.append(cuts.is_cut)
    assert not any(told[2:])


def test_another_size_is_one() -> None:
    cuts = SceneCuts()
    cuts.update(flat(50))
    cuts.update(flat(50, 40))
    assert cuts.is_cut


def test_one_box_may_change_alone() -> None:
    cuts, after = SceneCuts(), flat(50)
    after[10:20, 10:20] = 255
    cuts.update(flat(50))
    cuts.update(after)
    assert cuts.has_changed(BOX)
    assert not cuts.has_changed(BOX + 32)


@given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=4, max_size=4))
def test_any_box(box: list[float]) -> None:
    cuts = SceneCuts()
    cuts.update(flat(50))
    cuts.update(flat(50))
    assert not cuts.has_changed(np.array(box, np.float32))


@pytest.mark.parametrize("size", [(1, 1), (1, 999), (2000, 3)])
def test_any_size(size: tuple[int, int]) -> None:
    cuts = SceneCuts()
    for shade in (0, 255):
        cuts.update(flat(shade, *size))
    assert cuts.is_cut
