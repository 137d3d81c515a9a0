"""Tracks, and the observations of one track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, and_, func, select

from models.emotions import EMOTIONS
from pipeline.store.engine import begin_read
from pipeline.store.queries.expressions import Shares
from pipeline.store.schema import PROBABILITIES, observations, tracks


@dataclass(frozen=True)
class Track:
    """One face followed over time. mean: (8,) in the order of EMOTIONS."""

    id: str
    camera: str
    run: str
    track: int
    phase: str
    started_ms: int
    ended_ms: int
    observations: int
    mean: tuple[float, ...]

    @property
    def duration_ms(self) -> int:
        """From its first to its last observation."""
        return self.ended_ms - self.started_ms

    @property
    def label(self) -> str:
        """The expression with the greatest mean probability."""
        return EMOTIONS[self.mean.index(max(self.mean))]


@dataclass(frozen=True)
class Observation:
    """One observation of a track. probabilities: (8,), of the network, not smoothed; `blur`, `luma`
    and `size_px` as in `pipeline.records.Quality`; `model`, `mode` and `reason`: which weights
    classified it, how, and why those."""

    captured_ms: int
    pts_ms: int
    probabilities: tuple[float, ...]
    label: str
    smoothed_label: str
    smoothed_confidence: float
    uncertainty: float
    blur: float = 0.0
    luma: float = 0.0
    size_px: float = 0.0
    model: str = ""
    mode: str = ""
    reason: str = ""


def find_track(engine: Engine, track_id: str) -> Track | None:
    """The track `trk:camera:run:track`, or None."""
    with begin_read(engine) as connection:
        row = connection.execute(select(tracks).where(tracks.c.id == track_id)).mappings().first()
    return None if row is None else _track(row)


def track_observations(engine: Engine, track: Track, points: int = 400) -> list[Observation]:
    """Observations of a track in order of time; of a long track every nth, at most `points`."""
    seen = observations.c
    number = func.row_number().over(order_by=seen.captured_ms).label("number")
    # An index-only scan picks the times; only the picked rows are then read.
    times = select(seen.captured_ms, number, func.count().over().label("total"))
    numbered = times.where(_of(track)).subquery()
    stride = (numbered.c.total + points - 1) // points
    chosen = select(numbered.c.captured_ms).where((numbered.c.number - 1) % stride == 0)
    query = (
        select(observations)
        .where(_of(track), seen.captured_ms.in_(chosen))
        .order_by(seen.captured_ms, seen.frame)
        .limit(points)
    )
    with begin_read(engine) as connection:
        return [_observation(row) for row in connection.execute(query).mappings()]


def track_shares(engine: Engine, track: Track) -> Shares:
    """How often each smoothed label was observed on a track, and its mean probabilities."""
    seen = observations.c
    query = (
        select(seen.smoothed_label, func.count()).where(_of(track)).group_by(seen.smoothed_label)
    )
    with begin_read(engine) as connection:
        counts = {label: count for label, count in connection.execute(query)}
    return Shares(sum(counts.values()), counts, track.mean)


def _of(track: Track) -> Any:
    seen = observations.c
    return and_(seen.camera == track.camera, seen.run == track.run, seen.track == track.track)


def _track(row: Mapping[Any, Any]) -> Track:
    return Track(
        id=row["id"],
        camera=row["camera"],
        run=row["run"],
        track=row["track"],
        phase=row["phase"],
        started_ms=row["started_ms"],
        ended_ms=row["ended_ms"],
        observations=row["observations"],
        mean=tuple(row[name] for name in PROBABILITIES),
    )


def _observation(row: Mapping[Any, Any]) -> Observation:
    return Observation(
        captured_ms=row["captured_ms"],
        pts_ms=row["pts_ms"],
        probabilities=tuple(row[name] for name in PROBABILITIES),
        label=row["label"],
        smoothed_label=row["smoothed_label"],
        smoothed_confidence=row["smoothed_confidence"],
        uncertainty=row["uncertainty"],
        blur=row["quality_blur"],
        luma=row["quality_luma"],
        size_px=row["quality_size_px"],
        model=row["model"],
        mode=row["mode"],
        reason=row["reason"],
    )
