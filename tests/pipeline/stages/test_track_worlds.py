"""Ids against the truth of made worlds, and on two clips."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.frames import TrackedFaces
from pipeline.settings import DetectorSettings
from pipeline.stages.detect import open_detect
from pipeline.stages.source.file import VideoSource
from pipeline.stages.track import Tracker
from tests.pipeline.stages.worlds import (
    SECONDS,
    SETTINGS,
    WORLDS,
    Detections,
    all_ids,
    simulate,
    times,
)


@dataclass
class Score:
    """`broken`: how often a person's id changed though the boxes were never `lost_s` apart.
    `mixed`: ids that more than one person had. `named`: share of the boxes that had an id."""

    broken: int
    mixed: int
    named: float


def score(frames: list[Detections]) -> Score:
    last_id: dict[int, int] = {}
    last_s: dict[int, float] = {}
    owners: dict[int, set[int]] = {}
    broken = named = boxes = 0
    for frame, ids in zip(frames, all_ids(frames), strict=True):
        for person in frame.people:
            if frame.pts_s - last_s.get(person, frame.pts_s) > SETTINGS.lost_s + 1e-6:
                last_id.pop(person, None)
            last_s[person] = frame.pts_s
        for person, id in ids.items():
            broken += last_id.get(person, id) != id
            last_id[person] = id
            owners.setdefault(id, set()).add(person)
        boxes += len(frame.people)
        named += len(ids)
    return Score(broken, sum(len(people) > 1 for people in owners.values()), named / boxes)


@pytest.mark.parametrize(
    ("rate", "missed", "broken", "mixed", "named"),
    [
        (5, 0.15, 1, 0, 0.93),
        (10, 0.1, 0, 0, 0.94),
        (10, 0.2, 0, 0, 0.92),
        (15, 0.15, 0, 0, 0.95),
        (30, 0.15, 0, 0, 0.96),
        ("variable", 0.15, 1, 1, 0.91),
    ],
)
def test_faces_keep_their_ids(
    rate: float | str, missed: float, broken: int, mixed: int, named: float
) -> None:
    """A minute and a half in eight worlds. Boxes jitter, some are missing, one in ten is weak."""
    scores = {}
    for world in WORLDS:
        rng = np.random.default_rng(0)
        scores[world.__name__] = score(simulate(world(rng), times(rate, SECONDS, rng), rng, missed))
    assert sum(s.broken for s in scores.values()) <= broken, scores
    assert sum(s.mixed for s in scores.values()) <= mixed, scores
    assert np.mean([s.named for s in scores.values()]) >= named, scores


def watched(clip: str, every: int) -> tuple[list[TrackedFaces], tuple[int, ...]]:
    """What the tracker makes of every n-th frame of a clip, and the ids open at its end."""
    tracker, detect = Tracker(SETTINGS), open_detect(DetectorSettings(threads=1))
    path = Path(os.environ["UNDERCAM_DATA"]) / "media" / clip
    with VideoSource(path, "cam", "e1") as source:
        frames = (frame for frame in source if frame.header.index % every == 0)
        told = [tracker.update(frame.header, detect(frame.image)) for frame in frames]
    return told, tracker.finish()


@pytest.mark.needs("data")
def test_a_head_that_moves_a_lot_is_one_track() -> None:
    told, still_open = watched("pyfeat_WolfgangLanger_Pexels.mp4", every=6)
    assert [t.track_ids.tolist() for t in told] == [[], *[[1]] * (len(told) - 1)]
    assert still_open == (1,)


@pytest.mark.needs("data")
def test_the_track_of_a_face_that_leaves_ends_within_a_second() -> None:
    told, still_open = watched("pyfeat_face_noface.mov", every=5)
    last_s = max(t.header.pts_s for t in told if len(t.faces))
    ends = [(t.header.pts_s, t.ended) for t in told if t.ended]
    assert [ended for _, ended in ends] == [(1,)]
    assert 0.8 < ends[0][0] - last_s <= 1.0
    assert still_open == ()
