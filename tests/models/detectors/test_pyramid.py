"""Several small looks at a noisy image: their sizes, and what they agree on, face by face."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from models.detectors.centerface import CenterFace
from models.detectors.pyramid import detect_multi_scale, fuse_detections, sizes
from models.faces import Faces, iou
from models.udc.panel import apply_panel
from models.udc.suites import find_panel

Image = NDArray[np.uint8]
WOMAN = [179.0, 60.0, 272.0, 182.0]


def faces(*rows: tuple[list[float], float]) -> Faces:
    """Boxes with their scores; every landmark in the middle of its box."""
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    scores = np.array([score for _, score in rows], np.float32)
    return Faces(boxes, scores, np.repeat(middle[:, None], 5, axis=1))


def test_boxes_are_averaged_by_their_scores() -> None:
    one = fuse_detections([faces(([0, 0, 10, 10], 0.3)), faces(([2, 0, 12, 10], 0.1)), faces()])
    assert one.boxes[0] == pytest.approx([0.5, 0, 10.5, 10])
    assert one.landmarks[0] == pytest.approx(np.tile([5.5, 5.0], (5, 1)))
    assert one.scores[0] == pytest.approx(0.4 / 3)


def test_two_people_stay_two_best_first() -> None:
    left, right = [0.0, 0, 10, 10], [20.0, 0, 30, 10]
    both = fuse_detections([faces((left, 0.1), (right, 0.2)), faces((right, 0.2), (left, 0.05))])
    assert both.boxes == pytest.approx(np.float32([right, left]))
    assert both.scores == pytest.approx([0.2, 0.075])


def test_a_look_counts_once_for_a_face() -> None:
    twice = fuse_detections([faces(([0, 0, 10, 10], 0.3), ([1, 0, 11, 10], 0.2))])
    assert len(twice) == 1
    assert twice.boxes[0].tolist() == [0, 0, 10, 10]
    assert twice.scores[0] == pytest.approx(0.3)


def test_the_surest_are_no_surer_than_one() -> None:
    assert fuse_detections([faces(([0, 0, 9, 9], 0.9))] * 3, 2.0).scores.tolist() == [1.0]


def test_boxes_without_area_and_nobody() -> None:
    assert len(fuse_detections([faces(([5, 5, 5, 5], 0.2), ([5, 5, 5, 5], 0.1)), faces()])) == 2
    assert len(fuse_detections([faces(), faces()])) == 0


@pytest.mark.parametrize("noise", [2.6, 10.0, 46.0, 90.0])
@pytest.mark.parametrize("longer", [40, 640, 1920])
def test_more_noise_smaller_pictures(longer: int, noise: float) -> None:
    looked_at = sizes(longer, noise, 448)
    assert looked_at == sorted(set(looked_at))
    assert all(32 <= px <= 448 for px in looked_at)
    assert max(sizes(longer, noise * 2, 448)) <= max(looked_at)


def test_every_look_is_told_in_the_pictures_own_pixels() -> None:
    shown: list[tuple[int, int]] = []

    def look(small: Image) -> Faces:
        shown.append(small.shape[:2])
        height, width = small.shape[:2]
        return faces(([width / 4, height / 4, width / 2, height / 2], 0.4))

    found = detect_multi_scale(look, np.zeros((240, 320, 3), np.uint8), 40.0, 448)
    assert len(shown) == len(set(shown)) > 3
    shown.clear()
    detect_multi_scale(look, np.zeros((240, 320, 3), np.uint8), 4.0, 448)
    assert len(shown) == 2
    assert found.boxes[0] == pytest.approx([80, 60, 160, 120], abs=1)


@pytest.mark.parametrize("cell", ["udc_t/5", "udc_p/5"])
def test_a_face_behind_the_worst_display(cell: str) -> None:
    detector = CenterFace(threads=1)
    image = skimage.data.astronaut()
    seen = apply_panel(image[None], find_panel(cell).at(127 / 48), np.random.default_rng(0))[0]
    wanted = np.array([WOMAN], np.float32)

    def sure(found: Faces) -> float:
        there = iou(wanted, found.boxes)[0] >= 0.5
        return float(found.scores[there].max(initial=0))

    assert sure(detector.detect(seen)) < 0.4 < sure(detector.detect_in_noise(seen, 40.0))


def test_nobody_in_noise_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    assert len(CenterFace(threads=1).detect_in_noise(noise, 60.0)) == 0
