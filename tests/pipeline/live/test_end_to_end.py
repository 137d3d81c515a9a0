from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from models.crops import ALIGNED, crop_faces
from models.faces import Faces
from pipeline.live.end_to_end import FACE_PX, GREY, evaluate_end_to_end, render
from pipeline.stages.detect import Detect
from tests.pipeline.square import ShadeClassifier, SquareDetector


def tile(shade: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.full((48, 48), shade, np.uint8)


@pytest.mark.parametrize("row", [0, 1, 17, 28_000])
def test_a_face_stands_whole_on_grey_where_its_row_says(row: int) -> None:
    picture = render(tile(255), row)
    assert picture.shape == (480, 640, 3)
    rows, columns = np.nonzero((picture == 255).all(axis=2))
    # The border is the face's own, so the white area is at least the face.
    assert rows.max() - rows.min() + 1 >= FACE_PX
    assert columns.max() - columns.min() + 1 >= FACE_PX
    assert (picture[0] == GREY).all()
    assert (picture[-1] == GREY).all()
    assert np.array_equal(picture, render(tile(255), row))


def test_rows_place_faces_differently() -> None:
    assert not np.array_equal(render(tile(255), 1), render(tile(255), 2))


def test_the_picture_inside_is_the_tile_enlarged_four_times() -> None:
    rng = np.random.default_rng(0)
    small = cv2.GaussianBlur(rng.integers(0, 255, (48, 48), dtype=np.uint8), (0, 0), 2)
    picture = render(small, 3)[:, :, 0]
    large = cv2.resize(small, (192, 192), interpolation=cv2.INTER_CUBIC)
    found = cv2.matchTemplate(picture, large, cv2.TM_SQDIFF).min()
    assert found == pytest.approx(0, abs=1e-2)


def test_every_face_is_found_and_named_in_its_own_order() -> None:
    shades = [230, 140, 230, 140, 140, 230]
    tiles = np.stack([tile(shade) for shade in shades])
    seen: list[tuple[int, int]] = []
    scores, found = evaluate_end_to_end(
        ShadeClassifier(),
        Detect(WhiteDetector(), 16),
        tiles,
        np.arange(6),
        lambda done, of: seen.append((done, of)),
    )
    assert found.all()
    assert scores.argmax(axis=1).tolist() == [1, 3, 1, 3, 3, 1]
    assert seen == [(6, 6)]


def test_a_face_that_is_not_found_or_found_elsewhere_has_no_scores() -> None:
    class Elsewhere(SquareDetector):
        def detect(self, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Faces:
            corner = np.array([[0, 0, 40, 40]], np.float32)
            return Faces(corner, np.array([0.9], np.float32), np.zeros((1, 5, 2), np.float32))

    scores, found = evaluate_end_to_end(
        ShadeClassifier(), Detect(Elsewhere(), 16), tile(230)[None], np.array([5])
    )
    assert not found.any()
    assert not scores.any()


class WhiteDetector(SquareDetector):
    """Finds what is brighter than the grey around it."""

    def detect(self, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Faces:
        rows, columns = np.nonzero(image[:, :, 0] > GREY + 6)
        if len(rows) == 0:
            return Faces.none()
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        points = np.zeros((1, 5, 2), np.float32)
        return Faces(np.array([box], np.float32), np.array([0.9], np.float32), points)


class Notes(WhiteDetector):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = []

    def detect(self, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Faces:
        self.seen.append(image)
        return super().detect(image)


def shown(cell: str, ids: list[int]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    detector, tiles = Notes(), np.stack([tile(200)] * len(ids))
    camera = Detect(detector, 16)
    evaluate_end_to_end(ShadeClassifier(), camera, tiles, np.array(ids), dataset="made", cell=cell)
    return [image.astype(float) for image in detector.seen]


def test_a_display_harms_the_whole_frame_with_noise_of_its_own() -> None:
    clean, harmed = shown("clean", [3, 4]), shown("udc_p/2", [3, 4])
    for before, after in zip(clean, harmed, strict=True):
        corner = after[:48, :48]
        assert before[:48, :48].std() < 1 < 5 < corner.std()
        assert corner.mean() == pytest.approx(before[:48, :48].mean(), abs=4)
    corners = [image[:40, :40].ravel() for image in harmed]
    assert abs(np.corrcoef(corners)[0, 1]) < 0.1


def test_a_condition_without_a_panel_has_no_video() -> None:
    with pytest.raises(ValueError, match="no panel in"):
        shown("gauss_blur_x1/1", [1])


def test_weights_get_the_crops_that_they_were_trained_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def crop(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], faces: Faces, by: str) -> Any:
        asked.append(by)
        return crop_faces(image, faces, by)

    monkeypatch.setattr("pipeline.live.end_to_end.crop_faces", crop)
    aligned = ShadeClassifier()
    aligned.card = replace(aligned.card, crop=ALIGNED)
    for classifier in (ShadeClassifier(), aligned):
        given = Detect(WhiteDetector(), 16), tile(230)[None], np.array([5])
        evaluate_end_to_end(classifier, *given)
    assert asked == ["square-1.0", ALIGNED]
