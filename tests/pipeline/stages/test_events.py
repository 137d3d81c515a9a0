"""Records say what was said, and nothing where nobody said anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.emotions import EMOTIONS
from models.faces import Faces
from models.quality import QualityMeasures
from models.scores import EmotionScores
from pipeline.frames import ClassifiedFaces, FrameHeader, LateAnswer, ScoredBy, TrackedFaces
from pipeline.records import Event, FaceObserved, TrackUpdated
from pipeline.settings import SmootherSettings
from pipeline.stages.events import EventBuilder

HAPPY = np.eye(8, dtype=np.float32)[EMOTIONS.index("happiness")]
GUESS = np.full(8, 1 / 8, np.float32)


def look(frame: int, scores: NDArray[np.float32], answered: bool = True) -> ClassifiedFaces:
    header = FrameHeader(
        "door", "e1", frame, frame / 5, frame * 200, frame * 200, "arrival", 64, 48
    )
    faces = Faces(
        np.array([[10, 10, 30, 30]], np.float32),
        np.ones(1, np.float32),
        np.zeros((1, 5, 2), np.float32),
    )
    quality = QualityMeasures(*(np.full(1, value, np.float32) for value in (0.1, 0.0, 0.5, 20.0)))
    by = () if answered else (ScoredBy("m", "mode", "no answer from the classifier pool in 5 s"),)
    return ClassifiedFaces(
        TrackedFaces(header, faces, np.array([1])),
        EmotionScores(scores[None], np.zeros(1, np.float32)),
        quality,
        np.array([answered]),
        by,
    )


def told(*looks: ClassifiedFaces) -> list[Event]:
    observe = EventBuilder("door", "e1", "m", "mode", SmootherSettings(unknown_below=0.05))
    return [event for each in looks for event in observe(each)] + observe.finish((1,))


def test_a_look_that_nobody_answered_is_unknown_and_changes_nothing_else() -> None:
    events = told(look(0, HAPPY), look(1, GUESS, answered=False), look(2, HAPPY))
    seen = [event for event in events if isinstance(event, FaceObserved)]
    assert [event.label for event in seen] == ["happiness", "unknown", "happiness"]
    assert [event.answered for event in seen] == [True, False, True]
    assert [event.reason for event in seen] == ["", "no answer from the classifier pool in 5 s", ""]
    assert [event.smoothed.label for event in seen] == ["happiness"] * 3
    assert {event.smoothed.confidence for event in seen} == {1.0}
    end = [event for event in events if isinstance(event, TrackUpdated)][-1]
    assert (end.phase, end.observations, end.mean.happiness) == ("end", 3, 1.0)


def test_a_face_of_which_nobody_ever_said_anything() -> None:
    events = told(*(look(frame, GUESS, answered=False) for frame in range(3)))
    seen = [event for event in events if isinstance(event, FaceObserved)]
    assert {(event.label, event.smoothed.label) for event in seen} == {("unknown", "unknown")}
    end = [event for event in events if isinstance(event, TrackUpdated)][-1]
    assert (end.observations, end.mean.neutral) == (3, 1 / 8)


SAD = np.eye(8, dtype=np.float32)[EMOTIONS.index("sadness")]


def test_a_late_answer_changes_the_smoothed_label_later_and_no_order() -> None:
    builder = EventBuilder("door", "e1", "m", "mode", SmootherSettings(unknown_below=0.05))
    late = LateAnswer(1, 0.0, SAD, weight=18.0)
    events = [*builder(look(0, HAPPY)), *builder(look(1, HAPPY)), *builder(look(2, HAPPY), [late])]
    seen = [event for event in events if isinstance(event, FaceObserved)]
    assert [event.frame for event in seen] == [0, 1, 2]
    assert [event.label for event in seen] == ["happiness"] * 3
    assert [event.smoothed.label for event in seen] == ["happiness", "happiness", "sadness"]
    (end,) = builder.finish((1,))
    assert (end.observations, end.mean.happiness, end.mean.sadness) == (3, 0.75, 0.25)


def test_a_late_answer_counts_by_its_fusion_weight_and_not_once_its_track_has_ended() -> None:
    builder = EventBuilder("door", "e1", "m", "mode", SmootherSettings(unknown_below=0.05))
    builder(look(0, HAPPY), [LateAnswer(7, 0.0, SAD, 1.0)])  # no such track yet, or no more
    builder(look(1, HAPPY), [LateAnswer(1, 0.0, SAD, 1.0, fusion_weight=2.0)])
    (end,) = builder.finish((1,))
    assert (end.mean.happiness, end.mean.sadness) == (0.5, 0.5)
    assert builder(look(2, HAPPY), [LateAnswer(1, 0.0, SAD, 1.0)])[1].mean.happiness == 1.0


def test_a_late_answer_for_the_frame_in_which_its_track_begins_counts() -> None:
    """A recording's robust answers come with the frame itself."""
    builder = EventBuilder("door", "e1", "m", "mode", SmootherSettings(unknown_below=0.05))
    _, start = builder(look(0, HAPPY), [LateAnswer(1, 0.0, SAD, 18.0)])
    assert (start.phase, start.mean.happiness, start.mean.sadness) == ("start", 0.5, 0.5)


def test_faces_of_one_frame_are_answered_each_for_itself() -> None:
    one = look(0, HAPPY)
    faces = Faces(
        np.tile(one.tracked.faces.boxes, (2, 1)),
        np.ones(2, np.float32),
        np.zeros((2, 5, 2), np.float32),
    )
    both = ClassifiedFaces(
        TrackedFaces(one.tracked.header, faces, np.array([1, 2])),
        EmotionScores(np.stack([HAPPY, GUESS]), np.zeros(2, np.float32)),
        QualityMeasures(*(np.full(2, value, np.float32) for value in (0.1, 0.0, 0.5, 20.0))),
        np.array([True, False]),
    )
    seen = [event for event in told(both) if isinstance(event, FaceObserved)]
    assert [event.label for event in seen] == ["happiness", "unknown"]
    assert [event.smoothed.label for event in seen] == ["happiness", "unknown"]
