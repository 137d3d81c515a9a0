from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.crops import GEOMETRY
from models.emotions import BASIC_SEVEN, EMOTIONS
from models.faces import Faces
from models.loading import build_network, load_classifier
from models.scores import EmotionScores, normalised_entropy
from models.weights import ModelCard, save
from pipeline.errors import ModelError
from pipeline.frames import Frame, FrameHeader, Route, ScoredBy, TrackedFaces
from pipeline.records import FaceObserved
from pipeline.settings import CropSettings, EmotionSettings, SmootherSettings
from pipeline.stages import classify as classify_stage
from pipeline.stages.classify import Classify, open_classify
from pipeline.stages.crop import Crop
from pipeline.stages.events import EventBuilder
from pipeline.stages.route import Router

HEADER = FrameHeader("door", "e1", 0, 0.0, 0, 0, "media", 200, 100)


class Brightness:
    """Says of each crop, as the share of happiness, how bright it is."""

    mode = "brightness"

    def __init__(self, labels: tuple[str, ...] = EMOTIONS) -> None:
        self.card = ModelCard(
            "b", "b", {}, labels, 48, 1, (0.5,), (0.25,), "square-1.0", "made", "none"
        )
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


@pytest.fixture
def two_weights(tmp_path: Path) -> EmotionSettings:
    """Two real networks, drawn at random."""
    for number, name in enumerate(("good", "bad")):
        torch.manual_seed(number)
        network = {"width": 8, "stem_stride": 2}
        card = ModelCard(
            *(name, "resnet18", network, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
        )
        save(tmp_path / f"{name}.safetensors", card, build_network(card).state_dict())
    good, bad = (str(tmp_path / f"{name}.safetensors") for name in ("good", "bad"))
    return EmotionSettings(weights=good, degraded_weights=bad)


def test_each_face_is_scored_by_the_weights_chosen_for_it(two_weights: EmotionSettings) -> None:
    classify = open_classify(two_weights)
    image = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    boxes = ((120, 20, 170, 70), (20, 20, 70, 70), (60, 10, 130, 80))
    tracked = TrackedFaces(HEADER, faces(*boxes), np.array([7, 2, 5]))
    cropped = Crop(CropSettings(fuse_s=0))(Frame(HEADER, image), tracked)
    bad = Route(two_weights.bad, "noise 0.050")
    looks = classify(replace(cropped, choices=(bad, Route(), bad)))
    by = [load_classifier(path) for path in (two_weights.bad, two_weights.weights)]
    for row, asked in enumerate((by[0], by[1], by[0])):
        alone = asked.predict(cropped.crops[row : row + 1])
        assert looks.scores.probabilities[row] == pytest.approx(alone.probabilities[0], abs=1e-6)
        assert looks.scores.uncertainty[row] == pytest.approx(alone.uncertainty[0], abs=1e-6)
    assert looks.by == (
        ScoredBy("bad", "resnet18-flip", "noise 0.050"),
        ScoredBy("good", "resnet18-flip"),
        ScoredBy("bad", "resnet18-flip", "noise 0.050"),
    )
    assert (classify.model, classify.mode) == ("good", "resnet18-flip")
    plain = classify(cropped)
    assert plain.by == ()
    for choices in ((Route(),) * 3, ()):
        same = classify(replace(cropped, choices=choices)).scores.probabilities
        assert np.array_equal(same, plain.scores.probabilities)


def test_events_name_the_weights_that_scored_each_face(two_weights: EmotionSettings) -> None:
    """From a noisy picture to its records, through every stage between."""
    image = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    image[:, 100:] = 90
    tracked = TrackedFaces(HEADER, faces((120, 20, 170, 70), (20, 20, 70, 70)), np.array([7, 2]))
    cropped = Crop(CropSettings())(Frame(HEADER, image), tracked)
    observe = EventBuilder("door", "e1", "not me", "nor me", SmootherSettings(unknown_below=1))
    looks = open_classify(two_weights)(Router(two_weights)(cropped))
    seen = [event for event in observe(looks) if isinstance(event, FaceObserved)]
    assert [(event.track, event.model) for event in seen] == [(7, "good"), (2, "bad")]
    assert seen[0].reason == "confidence below 1.0"
    assert seen[1].reason.startswith("noise 0.")
    assert seen[1].reason.endswith("; confidence below 1.0")
    assert {event.mode for event in seen} == {"resnet18-flip"}


def test_other_weights_must_serve_too() -> None:
    with pytest.raises(ModelError, match="serving speaks the eight expressions"):
        Classify(Brightness(), {"seven": Brightness(BASIC_SEVEN)})


def test_draws_are_asked_of_a_model_that_draws(tmp_path: Path) -> None:
    network = {"prior": 12, "input_px": 16, "widths": [8, 16, 32], "width": 16}
    card = ModelCard(
        *("small", "lrdif", network, EMOTIONS, 16, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )
    path = tmp_path / "small.safetensors"
    save(path, card, build_network(card).state_dict())
    assert open_classify(EmotionSettings(weights=str(path), draws=3)).mode == "lrdif-4-flip-x3"
    assert open_classify(EmotionSettings(draws=3)).mode == "resnet18-flip"


def test_bfloat16_is_refused_where_it_is_deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify_stage, "bfloat16_is_supported", lambda: False)
    with pytest.raises(ModelError, match=r"bfloat16 ends the process .*: emotion\.dtype: set"):
        open_classify(EmotionSettings(dtype="bfloat16"))
    monkeypatch.setattr(classify_stage, "bfloat16_is_supported", lambda: True)
    assert open_classify(EmotionSettings(dtype="bfloat16")).mode == "resnet18-flip-bf16"
