from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.crops import ALIGNED, GEOMETRY
from models.emotions import BASIC_SEVEN, EMOTIONS
from models.faces import Faces
from models.loading import build_network, load_classifier
from models.scores import EmotionScores, normalised_entropy
from models.weights import ModelCard, save
from pipeline.camera_config import CameraConfig
from pipeline.config import Settings
from pipeline.emotion_settings import EmotionSettings, RouteSettings
from pipeline.errors import ModelError
from pipeline.frames import (
    ClassifiedFaces,
    ClassifyReply,
    ClassifyRequest,
    CroppedFaces,
    Frame,
    FrameHeader,
    Route,
    ScoredBy,
    TrackedFaces,
    TrackState,
)
from pipeline.live.stage_runner import run_stages
from pipeline.records import FaceObserved
from pipeline.settings import CropSettings, SmootherSettings
from pipeline.stages import classify as classify_stage
from pipeline.stages.classify import Classify, RouteClassifier, open_classify, open_route
from pipeline.stages.crop import Crop
from pipeline.stages.detect import Detect
from pipeline.stages.events import EventBuilder
from pipeline.stages.requests import TrackStates
from pipeline.stages.route import Router
from pipeline.stages.source.file import VideoSource

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
    with pytest.raises(ModelError, match="serving needs the eight expressions"):
        Classify(Brightness(BASIC_SEVEN))


def test_a_device_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(ModelError, match="CUDA device: cuda:7: "):
        open_route(RouteSettings(device="cuda:7"))


@pytest.fixture
def two_weights(tmp_path: Path) -> RouteSettings:
    """Two real networks, drawn at random."""
    for number, name in enumerate(("good", "bad")):
        torch.manual_seed(number)
        network = {"width": 8, "stem_stride": 2}
        card = ModelCard(
            *(name, "resnet18", network, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
        )
        save(tmp_path / f"{name}.safetensors", card, build_network(card).state_dict())
    good, bad = (str(tmp_path / f"{name}.safetensors") for name in ("good", "bad"))
    return RouteSettings(weights=good, degraded_weights=bad)


def test_each_face_is_scored_by_the_weights_chosen_for_it(two_weights: RouteSettings) -> None:
    classify = Classify(open_route(two_weights))
    image = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    boxes = ((120, 20, 170, 70), (20, 20, 70, 70), (60, 10, 130, 80))
    tracked = TrackedFaces(HEADER, faces(*boxes), np.array([7, 2, 5]))
    cropped = Crop(CropSettings(fuse_s=0))(Frame(HEADER, image), tracked)
    bad = Route("fast", two_weights.degraded, "noise 0.050")
    looks = classify(replace(cropped, routes=(bad, Route(), bad)))
    by = [load_classifier(path) for path in (two_weights.degraded, two_weights.weights)]
    for row, asked in enumerate((by[0], by[1], by[0])):
        alone = asked.predict(cropped.crops[row : row + 1])
        assert looks.scores.probabilities[row] == pytest.approx(alone.probabilities[0], abs=1e-6)
        assert looks.scores.uncertainty[row] == pytest.approx(alone.uncertainty[0], abs=1e-6)
    assert looks.by == (
        ScoredBy("bad", "resnet18-flip-uncertain", "noise 0.050"),
        ScoredBy("good", "resnet18-flip-uncertain"),
        ScoredBy("bad", "resnet18-flip-uncertain", "noise 0.050"),
    )
    assert (classify.model, classify.mode) == ("good", "resnet18-flip-uncertain")
    plain = classify(cropped)
    assert plain.by == ()
    for routes in ((Route(),) * 3, ()):
        same = classify(replace(cropped, routes=routes)).scores.probabilities
        assert np.array_equal(same, plain.scores.probabilities)


def test_events_name_the_weights_that_scored_each_face(two_weights: RouteSettings) -> None:
    """From a noisy picture to its records, through every stage between."""
    image = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    image[:, 100:] = 90
    tracked = TrackedFaces(HEADER, faces((120, 20, 170, 70), (20, 20, 70, 70)), np.array([7, 2]))
    cropped = Crop(CropSettings())(Frame(HEADER, image), tracked)
    observe = EventBuilder("door", "e1", "not me", "nor me", SmootherSettings(unknown_below=1))
    settings = EmotionSettings.model_validate({"routes": {"fast": two_weights}})
    looks = open_classify(settings)(Router(settings)(cropped))
    seen = [event for event in observe(looks) if isinstance(event, FaceObserved)]
    assert [(event.track, event.model) for event in seen] == [(7, "good"), (2, "bad")]
    assert seen[0].reason == "confidence below 1.0"
    assert seen[1].reason.startswith("noise 0.")
    assert seen[1].reason.endswith("; confidence below 1.0")
    assert {event.mode for event in seen} == {"resnet18-flip-uncertain"}


def test_other_weights_must_serve_too() -> None:
    with pytest.raises(ModelError, match="serving needs the eight expressions"):
        Classify(Brightness(), {"seven": Brightness(BASIC_SEVEN)})


def mode_of(**settings: object) -> str:
    return open_route(RouteSettings.model_validate(settings)).scored_by(Route()).mode


def test_draws_are_asked_of_a_model_that_draws(tmp_path: Path) -> None:
    network = {"prior": 12, "input_px": 16, "widths": [8, 16, 32], "width": 16}
    card = ModelCard(
        *("small", "lrdif", network, EMOTIONS, 16, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )
    path = tmp_path / "small.safetensors"
    save(path, card, build_network(card).state_dict())
    assert mode_of(weights=str(path), draws=3) == "lrdif-4-flip-x3"
    assert mode_of(draws=3) == "resnet18-flip-uncertain"


def test_bfloat16_is_refused_where_it_is_deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify_stage, "bfloat16_is_supported", lambda: False)
    with pytest.raises(ModelError, match=r"bfloat16 ends the process .*: emotion\.routes: set"):
        open_route(RouteSettings(dtype="bfloat16"))
    monkeypatch.setattr(classify_stage, "bfloat16_is_supported", lambda: True)
    assert mode_of(dtype="bfloat16") == "resnet18-flip-uncertain-bf16"


# States and late answers -----------------------------------------------------------------------


class Counting(Brightness):
    """Counts the observations of a track in its state, and answers with the count."""

    def predict_with_state(
        self, crops: NDArray[np.uint8], ids: NDArray[np.int64], states: Sequence[bytes]
    ) -> tuple[EmotionScores, list[bytes]]:
        assert len(states) == len(crops) == len(ids)
        counts = [int.from_bytes(state) + 1 for state in states]
        scores = np.zeros((len(crops), 8), np.float32)
        scores[np.arange(len(crops)), counts] = 1
        return EmotionScores(scores, normalised_entropy(scores)), [bytes([n]) for n in counts]


def cropped_faces(*tracks: int, ended: tuple[int, ...] = ()) -> CroppedFaces:
    image = np.zeros((100, 200, 3), np.uint8)
    boxes = ((20, 20, 70, 70), (120, 20, 170, 70))[: len(tracks)]
    tracked = TrackedFaces(HEADER, faces(*boxes), np.array(tracks), ended)
    return Crop(CropSettings())(Frame(HEADER, image), tracked)


def counts_of(classified: ClassifiedFaces) -> list[int]:
    return classified.scores.probabilities.argmax(axis=1).tolist()


def test_a_track_carries_its_state_until_it_ends() -> None:
    classify = Classify(Counting())
    assert counts_of(classify(cropped_faces(1, 2))) == [1, 1]
    assert counts_of(classify(cropped_faces(2, 3))) == [2, 1]
    assert counts_of(classify(cropped_faces(2, ended=(3,)))) == [3]
    assert counts_of(classify(cropped_faces(3, 2))) == [1, 4]


def test_the_state_of_other_weights_counts_as_none() -> None:
    route = RouteClassifier(Counting(), {"other": Counting()}, {"": "w@1", "other": "w@2"})
    one = cropped_faces(1)

    def ask(weights: str, state: TrackState | None) -> tuple[int, TrackState | None]:
        request = ClassifyRequest(one.crops, np.array([1]), (weights,), (state,))
        reply = route.classify(request)
        return int(reply.scores.probabilities.argmax()), reply.states[0]

    count, state = ask("", None)
    assert (count, state) == (1, TrackState("w@1", b"\x01"))
    assert ask("", state) == (2, TrackState("w@1", b"\x02"))
    assert ask("other", state) == (1, TrackState("w@2", b"\x01"))


def test_a_state_that_is_too_large_is_named() -> None:
    class Wordy(Counting):
        def predict_with_state(
            self, crops: NDArray[np.uint8], ids: NDArray[np.int64], states: Sequence[bytes]
        ) -> tuple[EmotionScores, list[bytes]]:
            return self.predict(crops, ids), [bytes(1025)] * len(crops)

    with pytest.raises(ModelError, match="a state is too large: b: return at most 1024 bytes"):
        Classify(Wordy())(cropped_faces(1))


def test_a_late_answer_of_this_process_is_there_at_once() -> None:
    classify = Classify(Brightness(), robust=RouteClassifier(Counting()))
    cropped = cropped_faces(1, 2)
    classify(cropped)
    classify.request(replace(cropped, routes=(Route("robust"),) * 2))
    assert classify.in_flight == frozenset()
    assert [late.track for late in classify.late_answers()] == [1, 2]
    assert classify.late_answers() == []


def test_a_clip_in_the_mode_auto_is_answered_by_both(square_clip: Path, detect: Detect) -> None:
    """Fast calls the square anger, uncertain; robust, for every second face, fear."""

    class Uncertain(Brightness):
        def predict(
            self, crops: NDArray[np.uint8], ids: NDArray[np.int64] | None = None
        ) -> EmotionScores:
            scores = np.full((len(crops), 8), 0.1, np.float32)
            scores[:, EMOTIONS.index("anger")] = 0.3
            return EmotionScores(scores, normalised_entropy(scores))

    class Sure(Brightness):
        def predict(
            self, crops: NDArray[np.uint8], ids: NDArray[np.int64] | None = None
        ) -> EmotionScores:
            scores = np.tile(np.eye(8, dtype=np.float32)[EMOTIONS.index("fear")], (len(crops), 1))
            return EmotionScores(scores, normalised_entropy(scores))

    robust = {"weights": "w", "share": 1.0, "cost": 2.0}
    emotion = {"mode": "auto", "routes": {"robust": robust}}

    def play() -> list[FaceObserved]:
        seen: list[FaceObserved] = []
        settings = Settings.model_validate(
            {"emotion": emotion, "smoother": {"unknown_below": 0.2}, "source": {"analyse_fps": 10}}
        )
        classify = Classify(Uncertain(), {"resnet18-w36-udc": Uncertain()}, RouteClassifier(Sure()))
        with VideoSource(square_clip, "door", "e1", analyse_fps=10) as source:
            run_stages(
                *(source, detect, classify, CameraConfig(settings)),
                lambda events: seen.extend(e for e in events if isinstance(e, FaceObserved)),
            )
        return seen

    first, second = play(), play()
    assert [e.frame for e in first] == sorted(e.frame for e in first)
    assert {e.model for e in first} == {"b"}
    asked = ["uncertain 0.9" in e.reason for e in first]
    assert 0.4 <= sum(asked) / len(asked) <= 0.5
    assert first[-1].smoothed.label == "fear"
    stamps = {"classified_ms": 0, "published_ms": 0}
    assert [e.model_copy(update=stamps) for e in first] == [
        e.model_copy(update=stamps) for e in second
    ]


def test_a_reply_without_states_ends_those_of_its_tracks() -> None:
    """They are no longer those of the tracks' last observation."""
    states = TrackStates()
    one = CroppedFaces(
        TrackedFaces(HEADER, faces((0, 0, 9, 9)), np.array([1])),
        *(np.zeros((1, 112, 112, 3), np.uint8), None, np.ones(1, np.int64)),  # type: ignore[arg-type]
    )
    states.follow(one)
    scores = EmotionScores(np.full((1, 8), 1 / 8, np.float32), np.ones(1, np.float32))
    kept = (TrackState("w@1", b"x"),)
    states.keep("fast", [1], ClassifyReply(scores, kept))
    assert states.of("fast", [1]) == kept
    states.keep("fast", [1], ClassifyReply(scores))
    assert states.of("fast", [1]) == ()


@pytest.mark.parametrize(
    ("fast", "robust", "expected"), [(1, 2, [2]), (3, 1, [3]), (0, 2, []), (2, 0, [])]
)
def test_the_routes_of_a_process_share_one_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, fast: int, robust: int, expected: list[int]
) -> None:
    """0 is all cores, torch's own number: it is left alone."""
    numbers: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    monkeypatch.setattr(classify_stage, "load_classifier", lambda *_, **__: Brightness())
    routes = {
        "fast": {"threads": fast, "degraded_weights": ""},
        "robust": {"threads": robust, "weights": "slow"},
    }
    open_classify(EmotionSettings.model_validate({"routes": routes}), every_route=True)
    assert numbers == expected


def test_the_crops_are_those_that_all_weights_take() -> None:
    aligned, other = Brightness(), Brightness()
    for classifier, name in ((aligned, "a"), (other, "c")):
        classifier.card = replace(classifier.card, name=name, crop=ALIGNED)
    assert Classify(Brightness()).crop == "square-1.0"
    assert Classify(aligned, {"c": other}, RouteClassifier(other)).crop == ALIGNED


@pytest.mark.parametrize("place", ["degraded", "robust"])
def test_weights_of_two_geometries_do_not_start(place: str) -> None:
    aligned = Brightness()
    aligned.card = replace(aligned.card, name="a", crop=ALIGNED)
    others = {"a": aligned} if place == "degraded" else {}
    robust = RouteClassifier(aligned) if place == "robust" else None
    message = r"b takes crops of 'square-1.0', a of 'aligned-5-1.0': emotion.routes: give all"
    with pytest.raises(ModelError, match=message):
        Classify(Brightness(), others, robust)
