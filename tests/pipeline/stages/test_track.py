"""The tracker by hand: births, ends, who may be whom; and what holds in any world."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.settings import TrackerSettings
from pipeline.stages.track import Tracker
from tests.pipeline.stages.worlds import (
    HEIGHT,
    SETTINGS,
    WIDTH,
    Detections,
    Person,
    all_ids,
    box_of,
    calm,
    faces_of,
    header,
    simulate,
    swaying,
    times,
    track,
)

# Birth and end ----------------------------------------------------------------------------------

FACE = box_of(100, 100, 60)


def seen(*frames: tuple[float, list[np.ndarray]], score: float = 0.8) -> list[Detections]:
    return [Detections(t, faces_of(boxes, [score] * len(boxes)), []) for t, boxes in frames]


def ids(frames: list[Detections], settings: TrackerSettings = SETTINGS) -> list[list[int]]:
    return [tracked.track_ids.tolist() for tracked in track(frames, settings)]


def there(*times_s: float) -> list[Detections]:
    return seen(*((t, [FACE]) for t in times_s))


def empty(*times_s: float) -> list[Detections]:
    return seen(*((t, []) for t in times_s))


@pytest.mark.parametrize(
    ("fps", "first"), [(1, 1), (2, 1), (5, 1), (10, 2), (20, 3), (30, 5), (60, 9)]
)
def test_a_face_has_an_id_once_it_was_seen_for_long_enough(fps: int, first: int) -> None:
    """At `confirm_s` 0.15, and at low rates from the second frame on."""
    frames = there(*(i / fps for i in range(12)))
    assert ids(frames) == [[]] * first + [[1]] * (12 - first)


def test_without_a_birth_time_the_first_look_has_an_id() -> None:
    assert ids(there(0.0), TrackerSettings(confirm_s=0)) == [[1]]


def test_a_box_that_only_flashes_is_never_told_of() -> None:
    frames = there(0.0, 0.1) + empty(*np.arange(0.2, 3, 0.1).tolist())
    told = track(frames)
    assert all(len(tracked.faces) == 0 and tracked.ended == () for tracked in told)


def test_flashes_do_not_add_up_to_a_track() -> None:
    frames = [frame for i in range(10) for frame in there(i / 2) + empty(i / 2 + 0.1, i / 2 + 0.2)]
    assert ids(frames) == [[]] * 30


@pytest.mark.parametrize("fps", [2, 5, 10, 30])
def test_a_track_ends_after_lost_s(fps: int) -> None:
    times_s = np.arange(0, 4, 1 / fps)
    frames = [frame for t in times_s for frame in (there(t) if t <= 2 else empty(t))]
    ends = [frame.pts_s for frame, told in zip(frames, track(frames), strict=True) if told.ended]
    last = max(t for t in times_s if t <= 2)
    assert ends == [times_s[times_s > last + SETTINGS.lost_s + 1e-6][0]]
    assert ends[0] - last <= SETTINGS.lost_s + 1 / fps + 1e-6


@pytest.mark.parametrize(("away_s", "same"), [(0.3, True), (0.8, True), (0.9, False), (2.0, False)])
def test_a_face_that_comes_back_in_time_keeps_its_id(away_s: float, same: bool) -> None:
    gone = empty(*np.arange(1.1, 1 + away_s - 0.05, 0.1).tolist())
    back = there(*(1 + away_s + i / 10 for i in range(5)))
    frames = there(*(i / 10 for i in range(11))) + gone + back
    assert ids(frames)[-1] == ([1] if same else [2])


def test_once_a_second_is_enough() -> None:
    frames = there(0, 1, 2, 3) + empty(4) + there(5, 6)
    assert ids(frames) == [[], [1], [1], [1], [], [], [2]]
    assert [told.ended for told in track(frames)] == [(), (), (), (), (1,), (), ()]


def test_finish_names_what_is_still_open() -> None:
    tracker = Tracker(TrackerSettings(confirm_s=0))
    tracker.update(header(0, 0.0), faces_of([FACE, FACE + 200], [0.8, 0.8]))
    assert tracker.finish() == (1, 2)
    assert tracker.finish() == ()


def test_weak_boxes_go_on_with_a_face_but_begin_none() -> None:
    times_s = [i / 10 for i in range(10)]
    weak = seen(*((t, [FACE]) for t in times_s), score=0.3)
    assert ids(weak) == [[]] * 10
    assert ids(there(-0.1) + weak) == [[], [], *[[1]] * 9]


def test_boxes_are_the_detector_s() -> None:
    rng = np.random.default_rng(0)
    frames = simulate(calm(rng), times(10, 3, rng), rng)
    for frame, told in zip(frames, track(frames), strict=True):
        given_in = {
            (bytes(box), score.item())
            for box, score in zip(frame.faces.boxes, frame.faces.scores, strict=True)
        }
        given_out = zip(told.faces.boxes, told.faces.scores, strict=True)
        assert {(bytes(box), score.item()) for box, score in given_out} <= given_in


def test_a_frame_from_the_past_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 1\.0 or later, got 0\.9"):
        track(there(1.0, 1.0, 0.9))


# Who may be whom ---------------------------------------------------------------------------------


def after_birth(*boxes: np.ndarray, then: list[np.ndarray], pause_s: float = 0.1) -> list[int]:
    """Faces at `boxes` are ids 1, 2 and so on; the ids of `then`, after a pause, from left to
    right."""
    before = [(i / 10, list(boxes)) for i in range(6)]
    after = [(0.5 + pause_s + i / 10, then) for i in range(3)]
    told = track(seen(*before, *after))[-1]
    return told.track_ids[np.argsort(told.faces.boxes[:, 0])].tolist()


def test_a_box_of_another_size_is_another_face() -> None:
    assert after_birth(FACE, then=[box_of(100, 100, 100)]) == [1]
    assert after_birth(FACE, then=[box_of(100, 100, 140)]) == [2]


def test_a_box_far_away_is_another_face() -> None:
    assert after_birth(FACE, then=[FACE + 20]) == [1]
    assert after_birth(FACE, then=[FACE + 200]) == [2]


def test_a_newcomer_does_not_push_a_row_of_faces_along() -> None:
    row = [box_of(100 + 45 * i, 100, 60) for i in range(6)]
    assert after_birth(*row[:5], then=row[1:], pause_s=0.3) == [2, 3, 4, 5, 6]


def test_each_face_has_the_nearest_track_when_all_are_moved_on() -> None:
    row = [box_of(100 + 80 * i, 100, 60) for i in range(5)]
    assert after_birth(*row, then=[box + 12 for box in row]) == [1, 2, 3, 4, 5]


# Whatever the world ------------------------------------------------------------------------------


@st.composite
def any_frames(draw: st.DrawFn) -> list[Detections]:
    """Some seconds of people who come and go."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rate = draw(st.sampled_from([1, 5, 10, 25, "variable"]))
    people = []
    for _ in range(draw(st.integers(0, 4))):
        x, y, side = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(30, 120)
        path = swaying(x, y, side, rng.uniform(0, 1.5), rng.uniform(0, 1))
        enters_s = float(rng.integers(0, 3))
        people.append(Person(path, enters_s, enters_s + rng.uniform(0, 5)))
    return simulate(people, times(rate, 4, rng), rng, missed=0.2)


@settings(max_examples=40)
@given(frames=any_frames())
def test_ids_are_unique_and_end_once(frames: list[Detections]) -> None:
    tracker = Tracker(SETTINGS)
    born: list[int] = []
    over: list[int] = []
    for i, frame in enumerate(frames):
        told = tracker.update(header(i, frame.pts_s), frame.faces)
        now = told.track_ids.tolist()
        assert now == sorted(set(now))
        over += told.ended
        assert not set(now) & set(over)
        born += sorted(set(now) - set(born))
    over += tracker.finish()
    assert born == list(range(1, len(born) + 1))
    assert sorted(over) == born


def changed(frames: list[Detections], scale: float = 1.0, shift_s: float = 0.0) -> list[Detections]:
    return [
        Detections(frame.pts_s + shift_s, frame.faces.transform(scale), frame.people)
        for frame in frames
    ]


@settings(max_examples=40)
@given(frames=any_frames(), shift_s=st.floats(-1e5, 1e5))
def test_only_time_between_frames_counts(frames: list[Detections], shift_s: float) -> None:
    assert all_ids(changed(frames, shift_s=shift_s)) == all_ids(frames)


@settings(max_examples=40)
@given(frames=any_frames(), scale=st.sampled_from([0.25, 0.5, 2.0, 16.0]))
def test_only_distances_beside_sizes_count(frames: list[Detections], scale: float) -> None:
    assert all_ids(changed(frames, scale=scale)) == all_ids(frames)


@settings(max_examples=40)
@given(frames=any_frames(), width=st.integers(1, 8000), height=st.integers(1, 8000))
def test_the_size_of_the_frame_does_not_count(
    frames: list[Detections], width: int, height: int
) -> None:
    tracker = Tracker(SETTINGS)
    told = [
        tracker.update(header(i, frame.pts_s, width, height), frame.faces)
        for i, frame in enumerate(frames)
    ]
    assert [t.track_ids.tolist() for t in told] == ids(frames)


@settings(max_examples=40)
@given(frames=any_frames(), seed=st.integers(0, 99))
def test_the_order_of_the_faces_does_not_count(frames: list[Detections], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shuffled = []
    for frame in frames:
        order = rng.permutation(len(frame.people))
        people = [frame.people[i] for i in order]
        shuffled.append(Detections(frame.pts_s, frame.faces[order], people))
    assert all_ids(shuffled) == all_ids(frames)


def test_frames_without_faces_are_fine() -> None:
    for told in track(empty(0.0, 0.0, 5.0)):
        assert len(told.faces) == 0
        assert told.track_ids.dtype == np.int64
