"""How each camera fares, and the runs it made."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, ScalarSelect, Text, cast, func, select

from pipeline.store.faults import reading
from pipeline.store.schema import camera_status, cameras, observations, runs, tracks


@dataclass(frozen=True)
class CameraOverview:
    """A camera at a glance.

    Fields from its last status are None, and `shed` empty, until it has told one. `reported_ms` is
    when that status was stored; `last_observed_ms` the capture of its last look; `faces` those on
    screen; `tracks` those of the window.
    """

    camera: str
    state: str | None
    since_ms: int | None
    reason: str | None
    fps: float | None
    lag_ms: int | None
    shed: dict[str, int]
    reported_ms: int | None
    last_observed_ms: int | None
    faces: int
    tracks: int


@dataclass(frozen=True)
class Run:
    """One reading of a camera. With clock "media" its times count from the file's start."""

    camera: str
    run: str
    clock: str | None
    first_ms: int | None
    last_ms: int | None
    stored_ms: int


def camera_overview(
    engine: Engine, since_ms: int, until_ms: int, screen_ms: int = 2_000
) -> list[CameraOverview]:
    """Every camera, by name.

    `tracks` counts those that overlap [since_ms, until_ms); `faces` the tracks seen in the
    `screen_ms` before until_ms.
    """
    status = camera_status.c
    query = (
        select(
            cameras.c.camera,
            status.state,
            status.since_ms,
            status.reason,
            status.fps,
            status.lag_ms,
            status.shed,
            status.stored_ms.label("reported_ms"),
            _last_observed().label("last_observed_ms"),
            _faces(until_ms - screen_ms, until_ms).label("faces"),
            _tracks(since_ms, until_ms).label("tracks"),
        )
        .join_from(cameras, camera_status, status.id == _latest_status(), isouter=True)
        .order_by(cameras.c.camera)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).mappings().all()
    return [CameraOverview(**{**row, "shed": row["shed"] or {}}) for row in rows]


def list_runs(engine: Engine, camera: str | None = None, limit: int = 50) -> list[Run]:
    """The runs stored last, newest first; of one camera, or of all."""
    query = select(runs).order_by(runs.c.stored_ms.desc(), runs.c.run).limit(limit)
    if camera is not None:
        query = query.where(runs.c.camera == camera)
    with reading(engine) as connection:
        return [Run(**row) for row in connection.execute(query).mappings()]


def _latest_status() -> ScalarSelect[str]:
    status = camera_status.alias().c
    query = select(status.id).where(status.camera == cameras.c.camera)
    latest_first = (status.stored_ms.desc(), status.since_ms.desc(), status.seq.desc())
    newest = query.order_by(*latest_first).limit(1)
    return newest.correlate(cameras).scalar_subquery()


def _last_observed() -> ScalarSelect[int | None]:
    seen = observations.c
    query = select(func.max(seen.captured_ms)).where(seen.camera == cameras.c.camera)
    return query.scalar_subquery()


def _faces(since_ms: int, until_ms: int) -> ScalarSelect[int]:
    seen = observations.c
    query = select(func.count((seen.run + ":" + cast(seen.track, Text)).distinct()))
    return query.where(
        seen.camera == cameras.c.camera, seen.captured_ms > since_ms, seen.captured_ms <= until_ms
    ).scalar_subquery()


def _tracks(since_ms: int, until_ms: int) -> ScalarSelect[int]:
    query = select(func.count()).select_from(tracks)
    return query.where(
        tracks.c.camera == cameras.c.camera,
        tracks.c.ended_ms >= since_ms,
        tracks.c.started_ms < until_ms,
    ).scalar_subquery()
