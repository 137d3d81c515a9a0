"""Of a quiet camera crops pass as they are; of a noisy one, looks at a still face become one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from models.alignment import TEMPLATE
from models.crops import ALIGNED, crop_faces
from models.faces import Faces
from models.light import to_linear_light
from pipeline.frames import CroppedFaces, Frame, FrameHeader, TrackedFaces
from pipeline.settings import CropSettings
from pipeline.stages.crop import Crop

BOX = (178.0, 70.0, 290.0, 190.0)
SIGMA = 40.0


@pytest.fixture(scope="module")
def scene() -> NDArray[np.uint8]:
    return skimage.data.astronaut()


def noisy(scene: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, SIGMA, scene.shape)
    return np.clip(scene + noise, 0, 255).astype(np.uint8)


def show(
    crop: Crop,
    image: NDArray[np.uint8],
    pts_s: float,
    ids: tuple[int, ...] = (1,),
    shift: float = 0.0,
    ended: tuple[int, ...] = (),
) -> CroppedFaces:
    height, width = image.shape[:2]
    header = FrameHeader("door", "e1", 0, pts_s, 0, 0, "media", width, height)
    boxes = np.array([BOX] * len(ids), np.float32).reshape(-1, 4) + np.float32(shift)
    faces = Faces(boxes, np.ones(len(ids), np.float32), np.zeros((len(ids), 5, 2), np.float32))
    return crop(Frame(header, image.copy()), TrackedFaces(header, faces, np.array(ids), ended))


def error(cropped: CroppedFaces, scene: NDArray[np.uint8]) -> float:
    wanted = crop_faces(scene, cropped.tracked.faces)[0].astype(float)
    inner = slice(12, -12)
    return float(np.std((cropped.crops[0] - wanted)[inner, inner]))


def test_a_quiet_camera_passes_untouched(scene: NDArray[np.uint8]) -> None:
    crop = Crop(CropSettings())
    for number in range(3):
        cropped = show(crop, scene, number / 5)
        assert np.array_equal(cropped.crops, crop_faces(scene, cropped.tracked.faces))
        assert cropped.fused_counts.tolist() == [1]


def test_noise_falls_with_every_look_even_while_the_box_jitters(scene: NDArray[np.uint8]) -> None:
    crop = Crop(CropSettings())
    errors = []
    for number in range(8):
        shift = float(np.random.default_rng(number).integers(-3, 4))
        cropped = show(crop, noisy(scene, number), number / 25, shift=shift)
        assert cropped.fused_counts.tolist() == [number + 1]
        errors.append(error(cropped, scene))
    assert errors[7] < 0.5 * errors[0]
    assert errors[3] < errors[1] < errors[0]


def test_the_newest_look_counts_most(scene: NDArray[np.uint8]) -> None:
    crop = Crop(CropSettings(fuse_s=1.2))
    dimmed = scene * 0.8
    first, alone = show(crop, noisy(scene, 1), 0.0), show(Crop(CropSettings()), noisy(dimmed, 2), 0)
    both = show(crop, noisy(dimmed, 2), 0.2)
    assert both.fused_counts.tolist() == [2]
    older, newer, mean = (
        float(to_linear_light(one.crops[0]).mean()) for one in (first, alone, both)
    )
    assert (mean - newer) / (older - newer) == pytest.approx(1 / (1 + math.e), abs=0.02)


def test_looks_that_are_too_old_or_too_many_are_left_out(scene: NDArray[np.uint8]) -> None:
    few = Crop(CropSettings(fuse_max=3))
    assert [show(few, noisy(scene, n), n / 10).fused_counts[0] for n in range(5)] == [1, 2, 3, 3, 3]
    short = Crop(CropSettings(fuse_s=0.25))
    assert [show(short, noisy(scene, n), n / 10).fused_counts[0] for n in range(5)] == [
        1,
        2,
        3,
        3,
        3,
    ]


def test_a_face_that_changes_is_not_smeared(scene: NDArray[np.uint8]) -> None:
    crop = Crop(CropSettings())
    for number in range(4):
        show(crop, noisy(scene, number), number / 10)
    changed = scene.copy()
    changed[150:175, 212:250] //= 4
    cropped = show(crop, noisy(changed, 9), 0.4)
    assert cropped.fused_counts.tolist() == [1]


def test_tracks_are_kept_apart_and_forgotten_when_they_end(scene: NDArray[np.uint8]) -> None:
    crop = Crop(CropSettings())
    show(crop, noisy(scene, 0), 0.0, ids=(1, 2))
    assert show(crop, noisy(scene, 1), 0.1, ids=(2, 3)).fused_counts.tolist() == [2, 1]
    show(crop, noisy(scene, 2), 0.2, ids=(3,), ended=(2,))
    assert show(crop, noisy(scene, 3), 0.3, ids=(2,)).fused_counts.tolist() == [1]


def test_gathering_can_be_switched_off(scene: NDArray[np.uint8]) -> None:
    crop = Crop(CropSettings(fuse_s=0))
    assert [show(crop, noisy(scene, n), n / 10).fused_counts[0] for n in range(3)] == [1, 1, 1]


def test_no_face_no_crop(scene: NDArray[np.uint8]) -> None:
    cropped = show(Crop(CropSettings()), scene, 0.0, ids=())
    assert cropped.crops.shape == (0, 112, 112, 3)
    assert len(cropped.fused_counts) == len(cropped.quality) == 0


def test_crops_are_cut_in_the_geometry_of_the_weights(scene: NDArray[np.uint8]) -> None:
    header = FrameHeader("door", "e1", 0, 0.0, 0, 0, "media", 512, 512)
    points = (TEMPLATE * 100 + [BOX[0] + 12, BOX[1]]).astype(np.float32)[None]
    faces = Faces(np.array([BOX], np.float32), np.ones(1, np.float32), points)
    tracked = TrackedFaces(header, faces, np.array([1]), ())
    for geometry in ("square-1.0", ALIGNED):
        cropped = Crop(CropSettings(), geometry)(Frame(header, scene.copy()), tracked)
        assert np.array_equal(cropped.crops, crop_faces(scene, faces, geometry))
    square = Crop(CropSettings())(Frame(header, scene.copy()), tracked)
    assert not np.array_equal(cropped.crops, square.crops)
