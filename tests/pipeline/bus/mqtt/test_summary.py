"""What a camera shows now: a count of the faces in view, whatever order their records come in."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from models.emotions import EMOTIONS, UNKNOWN
from pipeline.bus.mqtt.summary import NO_FACE, CameraSummary
from tests.pipeline.store.conftest import Make


def test_nobody_is_no_face() -> None:
    summary = CameraSummary()
    message = summary.message()
    assert (message["label"], message["confidence"], message["faces"]) == (NO_FACE, 0, 0)
    assert (message["state"], message["captured"]) == ("connecting", None)


def test_the_label_is_that_of_most_faces_and_a_face_leaves_with_its_track() -> None:
    summary = CameraSummary()
    summary.add([Make.status()])
    labels = ("sadness", "happiness", "happiness", UNKNOWN, UNKNOWN, UNKNOWN)
    summary.add([Make.observation(track=n, label=label) for n, label in enumerate(labels, 1)])
    message = summary.message()
    assert (message["label"], message["faces"], message["unknown"]) == ("happiness", 6, 3)
    assert message["labels"] == {"happiness": 2, "sadness": 1, UNKNOWN: 3}
    assert message["state"] == "online"
    assert message["captured"] == "1970-01-01T00:00:01.000+00:00"
    summary.add([Make.track(track=n, phase="end") for n in (2, 3)])
    assert summary.message()["label"] == "sadness"
    summary.add([Make.track(track=1, phase="end")])
    assert summary.message()["label"] == UNKNOWN


def test_a_camera_that_is_not_seen_shows_no_face() -> None:
    summary = CameraSummary()
    summary.add([Make.status(), Make.observation()])
    summary.add([Make.status(seq=1, state="lagging")])
    assert summary.message()["faces"] == 1
    summary.add([Make.status(seq=2, state="offline")])
    assert (summary.message()["faces"], summary.message()["state"]) == (0, "offline")


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.sampled_from([*EMOTIONS, UNKNOWN, "end"])), max_size=40
    )
)
def test_it_counts_as_a_dictionary_of_tracks_does(steps: list[tuple[int, str]]) -> None:
    summary, faces = CameraSummary(), dict[int, str]()
    for track, label in steps:
        if label == "end":
            faces.pop(track, None)
            summary.add([Make.track(track=track, phase="end")])
        else:
            faces[track] = label
            summary.add([Make.observation(track=track, label=label)])
    message, counts = summary.message(), Counter(faces.values())
    assert message["labels"] == counts
    assert (message["faces"], message["unknown"]) == (len(faces), counts[UNKNOWN])
    known = {label: n for label, n in counts.items() if label != UNKNOWN} or counts
    assert known.get(message["label"], 0) == max(known.values(), default=0)
