from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.emotions import BASIC_SEVEN, EMOTIONS
from models.faces import Faces
from models.scores import EmotionScores, normalised_entropy
from models.weights import ModelCard
from pipeline.errors import ModelError
from pipeline.frames import Frame, FrameHeader, TrackedFaces
from pipeline.settings import CropSettings, EmotionSettings
from pipeline.stages.classify import Classify, open_classify
from pipeline.stages.crop import Crop
from pipeline.stages.detect import Detect

HEADER = FrameHeader("door", "e1", 0, 0.0, 0, 0, "media", 200, 100)


class Brightness:
    """Says of each crop, as the share of happiness, how bright it is."""

    mode = "brightness"

    def __init__(self, labels: tuple[str, ...] = EMOTIONS) -> None:
        self.card = ModelCard("b", "b", {}, labels, 48, 1, 0.5, 0.25, "square-1.0", "made", "none")
        self.ids: list[int] = []

    def predict(
        self, crops: NDArray[np.uint8], ids: NDArray[np.int64] | None = None
    ) -> EmotionScores:
        assert ids is not None
        self.ids += ids.tolist()
        share = crops.mean(axis=(1, 2, 3)) / 255
        scores = np.zeros((len(crops), 8), np.float32)
        scores[:, 1], scores[:, 3] = share, 1 - share
        return EmotionScores(scores, normalised_entropy(scores))


def faces(*boxes: tuple[float, float, float, float]) -> Faces:
    n = len(boxes)
    return Faces(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, 0.9, np.float32),
        np.zeros((n, 5, 2), np.float32),
    )


def test_every_face_is_scored_from_its_own_place_in_its_own_order() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 100:] = 255
    tracked = TrackedFaces(HEADER, faces((120, 20, 170, 70), (20, 20, 70, 70)), np.array([7, 2]))
    classifier = Brightness()
    looks = Classify(classifier)(Crop(CropSettings())(Frame(HEADER, image), tracked))
    assert looks.scores.probabilities[:, 1] == pytest.approx([1, 0])
    assert looks.quality.luma == pytest.approx([1, 0], abs=0.01)
    assert looks.quality.size_px.tolist() == [50, 50]
    assert classifier.ids == [7, 2]


def test_a_frame_without_faces_gives_no_looks() -> None:
    tracked = TrackedFaces(HEADER, Faces.none(), np.zeros(0, np.int64))
    frame = Frame(HEADER, np.zeros((100, 200, 3), np.uint8))
    looks = Classify(Brightness())(Crop(CropSettings())(frame, tracked))
    assert len(looks.scores) == len(looks.quality) == 0


def test_weights_with_other_labels_do_not_serve() -> None:
    with pytest.raises(ModelError, match="serving speaks the eight expressions"):
        Classify(Brightness(BASIC_SEVEN))


def test_a_device_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(ModelError, match=r"emotion\.device"):
        open_classify(EmotionSettings(device="cuda:7"))


def test_small_faces_are_left_out() -> None:
    class Two:
        name = "two"

        def detect(self, image: NDArray[np.uint8]) -> Faces:
            return faces((0, 0, 40, 15.9), (0, 0, 16, 40))

    found = Detect(Two(), least_px=16)(np.zeros((100, 200, 3), np.uint8))
    assert found.boxes.tolist() == [[0, 0, 16, 40]]


def test_no_face_passes_as_no_face() -> None:
    class Blind:
        name = "blind"

        def detect(self, image: NDArray[np.uint8]) -> Faces:
            return Faces.none()

    assert len(Detect(Blind(), 16)(np.zeros((10, 10, 3), np.uint8))) == 0
