"""Which faces of a picture count, and how a camera's word about its display is heard."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors.conditioner import ConditioningDetector
from models.faces import Faces
from pipeline.stages.detect import Detect


class Remembers:
    """A detector that keeps what it was shown."""

    name = "remembers"

    def __init__(self) -> None:
        self.shown: list[NDArray[np.uint8]] = []

    def detect(self, image: NDArray[np.uint8]) -> Faces:
        self.shown.append(image)
        return Faces.none()


@pytest.mark.parametrize("under_display", [None, False, True])
@pytest.mark.parametrize("condition", ["auto", "never"])
def test_a_camera_behind_a_display_has_every_picture_conditioned(
    condition: str, under_display: bool | None
) -> None:
    """A clear picture of full contrast passes otherwise; `never` in the settings is never."""
    clear = np.tile(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], (96, 1, 3))
    detector = Remembers()
    detect = Detect(ConditioningDetector(detector, condition), 16).for_camera(under_display)
    assert detect.name == "remembers"
    assert len(detect(clear)) == 0
    is_changed = not np.array_equal(detector.shown[0], clear)
    assert is_changed == (under_display is True and condition == "auto")


def test_small_faces_are_left_out() -> None:
    class Two:
        name = "two"

        def detect(self, image: NDArray[np.uint8]) -> Faces:
            boxes = np.array([[0, 0, 40, 15.9], [0, 0, 16, 40]], np.float32)
            return Faces(boxes, np.ones(2, np.float32), np.zeros((2, 5, 2), np.float32))

    found = Detect(Two(), min_face_px=16)(np.zeros((100, 200, 3), np.uint8))
    assert found.boxes.tolist() == [[0, 0, 16, 40]]


def test_no_face_passes_as_no_face() -> None:
    class Blind:
        name = "blind"

        def detect(self, image: NDArray[np.uint8]) -> Faces:
            return Faces.none()

    assert len(Detect(Blind(), 16)(np.zeros((10, 10, 3), np.uint8))) == 0
