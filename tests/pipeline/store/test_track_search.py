"""Tracks found by what was seen of them, against plain Python over the same observations."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, select

from models.emotions import EMOTIONS
from pipeline.erasure import make_erasure
from pipeline.records import FaceObserved
from pipeline.store import queries as ask
from pipeline.store.erasures import erase
from pipeline.store.queries import NEGATIVE, TrackFilter, TrackSummary
from pipeline.store.schema import track_totals
from pipeline.store.writer import StoreWriter

T0 = 1_700_000_000_000
HOUR = 3_600_000
LABELS = (*EMOTIONS, "unknown")


@pytest.fixture
def faces(make: Any) -> list[FaceObserved]:
    """Two cameras, two runs, a hundred tracks of different length, label, quality and mode."""
    rng = np.random.default_rng(11)
    found = []
    for track in range(1, 101):
        begin, pace = T0 + int(rng.integers(0, HOUR)), int(rng.integers(100, 9_000))
        main = int(rng.integers(0, 9))
        for frame in range(int(rng.integers(1, 15))):
            label = LABELS[main if rng.random() < 0.7 else int(rng.integers(0, 9))]
            face = make.observation(
                frame,
                begin + frame * pace,
                camera=("door", "hall")[track % 2],
                run=("e1", "e2")[track % 3 == 0],
                track=track,
                label=label,
            )
            quality = {"blur": rng.random(), "luma": rng.random(), "size_px": 100 * rng.random()}
            found.append(
                face.model_copy(
                    update={
                        "quality": face.quality.model_copy(update=quality),
                        "uncertainty": float(rng.random()),
                        "mode": str(rng.choice(["fast", "robust", "a_b%"])),
                        "smoothed": face.smoothed.model_copy(
                            update={"confidence": float(rng.random())}
                        ),
                    }
                )
            )
    return found


def summaries(faces: list[FaceObserved]) -> dict[str, TrackSummary]:
    """The totals by plain loops."""
    tracks: dict[tuple[str, str, int], list[FaceObserved]] = {}
    for face in faces:
        tracks.setdefault((face.camera, face.run, face.track), []).append(face)
    found = [
        TrackSummary(
            *key,
            first_ms=min(face.captured_ms for face in seen),
            last_ms=max(face.captured_ms for face in seen),
            counts=dict(Counter(str(face.smoothed.label) for face in seen)),
            confidence=float(np.mean([face.smoothed.confidence for face in seen])),
            uncertainty=float(np.mean([face.uncertainty for face in seen])),
            blur=float(np.mean([face.quality.blur for face in seen])),
            luma=float(np.mean([face.quality.luma for face in seen])),
            size_px=float(np.mean([face.quality.size_px for face in seen])),
            modes=tuple(sorted({face.mode for face in seen})),
            phase="",
        )
        for key, seen in tracks.items()
    ]
    return {one.id: one for one in found}


def negative_ms(one: TrackSummary) -> float:
    share = sum(one.counts.get(label, 0) for label in NEGATIVE) / one.observations
    return one.duration_ms * share


POOR = {
    "blurred": lambda one: one.blur >= 0.5,
    "dark": lambda one: one.luma < 0.2,
    "small": lambda one: one.size_px < 48,
}


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (TrackFilter(), lambda one: True),
        (TrackFilter(camera="hall"), lambda one: one.camera == "hall"),
        (TrackFilter(run="e2"), lambda one: one.run == "e2"),
        (
            TrackFilter(label="anger"),
            lambda one: one.counts.get("anger", 0) == max(one.counts.values()),
        ),
        (TrackFilter(least_confidence=0.5), lambda one: one.confidence >= 0.5),
        (TrackFilter(least_duration_ms=30_000), lambda one: one.duration_ms >= 30_000),
        (TrackFilter(negative_ms=10_000), lambda one: negative_ms(one) >= 10_000),
        (TrackFilter(mode="robust"), lambda one: "robust" in one.modes),
        (TrackFilter(mode="a_b%"), lambda one: "a_b%" in one.modes),
        (TrackFilter(mode="fas"), lambda one: False),
        *((TrackFilter(quality=kind), test) for kind, test in POOR.items()),  # type: ignore[arg-type]
        (TrackFilter(quality="good"), lambda one: not any(test(one) for test in POOR.values())),
    ],
)
def test_every_filter(engine: Engine, faces: list[FaceObserved], wanted: Any, fits: Any) -> None:
    StoreWriter(engine).write(faces)
    since, until = T0 + HOUR // 4, T0 + HOUR // 2
    expected = {
        name: one
        for name, one in summaries(faces).items()
        if one.last_ms >= since and one.first_ms < until and fits(one)
    }
    found = ask.search_tracks(engine, since, until, wanted, limit=200)
    assert ask.count_tracks(engine, since, until, wanted) == len(found) == len(expected)
    assert [one.last_ms for one in found] == sorted((o.last_ms for o in found), reverse=True)
    for one in found:
        close = expected[one.id]
        assert one == TrackSummary(
            **vars(close)
            | {
                name: pytest.approx(getattr(close, name))
                for name in ("confidence", "uncertainty", "blur", "luma", "size_px")
            }
        )


def test_sorted_and_in_pages(engine: Engine, faces: list[FaceObserved]) -> None:
    StoreWriter(engine).write(faces)
    values = {
        "duration": lambda one: one.duration_ms,
        "negative": negative_ms,
        "uncertainty": lambda one: one.uncertainty,
        "first": lambda one: -one.first_ms,
    }
    for sort, value in values.items():
        pages = [
            ask.search_tracks(engine, T0, T0 + HOUR, TrackFilter(), sort, limit=30, offset=first)  # type: ignore[arg-type]
            for first in (0, 30, 60, 90)
        ]
        found = [value(one) for page in pages for one in page]
        assert len(found) == 100
        assert found == sorted(found, reverse=True)


def test_one_track_and_the_modes(engine: Engine, faces: list[FaceObserved], make: Any) -> None:
    StoreWriter(engine).write([*faces, make.track(track=2, phase="end", run="e1")])
    assert ask.list_modes(engine) == ["a_b%", "fast", "robust"]
    one = ask.find_totals(engine, "trk:door:e1:2")
    assert one is not None
    assert (one.id, one.phase) == ("trk:door:e1:2", "end")
    for missing in (
        "trk:door:e1:200",
        "trk:door:e1:x",
        "door",
        "",
        "trk:a:b:c:1",
        "trk:d:e:" + "9" * 99,
    ):
        assert ask.find_totals(engine, missing) is None


def test_a_resent_observation_counts_once_and_batches_add_up(
    engine: Engine, faces: list[FaceObserved]
) -> None:
    writer = StoreWriter(engine, batch_rows=90)
    writer.write(faces[::2])
    writer.write(faces)
    writer.write(faces[::-1])
    found = {one.id: one for one in ask.search_tracks(engine, 0, 2**52, TrackFilter(), limit=200)}
    for name, one in summaries(faces).items():
        assert (found[name].counts, found[name].first_ms, found[name].last_ms) == (
            one.counts,
            one.first_ms,
            one.last_ms,
        )
        assert found[name].modes == one.modes
        assert found[name].blur == pytest.approx(one.blur)


def test_what_is_erased_is_not_found(engine: Engine, faces: list[FaceObserved]) -> None:
    StoreWriter(engine).write(faces)
    erase(engine, make_erasure(2**51, track="door/e1/2"))
    assert ask.find_totals(engine, "trk:door:e1:2") is None
    middle = T0 + HOUR // 2
    erase(engine, make_erasure(2**51, camera="hall", before_ms=middle))
    left = ask.search_tracks(engine, 0, 2**52, TrackFilter(camera="hall"), limit=200)
    assert left
    assert all(one.first_ms >= middle for one in left)
    erase(engine, make_erasure(2**51, before_ms=2**50))
    with engine.connect() as connection:
        assert connection.execute(select(track_totals)).all() == []
