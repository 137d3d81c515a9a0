"""The current state of each camera, and its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine, ScalarSelect, Text, cast, func, select

from pipeline.camera_states import (
    REGISTERED,
    UNKNOWN,
    VIDEO_STATES,
    CameraState,
    current_state,
    from_record,
    is_time_of_day,
    state_start_ms,
)
from pipeline.store.engine import begin_read
from pipeline.store.schema import camera_status, cameras, observations, runs, tracks


@dataclass(frozen=True)
class CameraOverview:
    """A camera's current state and counts.

    `state` is one of `pipeline.camera_states`, as of the end of the window. `since_ms` is None
    until the camera reports a state; `fps` and `lag_ms` are None while no frame comes.
    `reported_ms` is when its last status was stored, `last_observed_ms` the capture time of its
    last observation, `faces` the number on screen, `tracks` the number in the window.
    `display_name` and `purpose` are those of its settings, "" where it has none.
    """

    camera: str
    state: str
    since_ms: int | None
    reason: str
    fps: float | None
    lag_ms: int | None
    shed: dict[str, int]
    reported_ms: int | None
    last_observed_ms: int | None
    faces: int
    tracks: int
    display_name: str = ""
    purpose: str = ""

    @property
    def title(self) -> str:
        """What a person calls it: its display name with its id, or the id alone."""
        return f"{self.display_name} ({self.camera})" if self.display_name else self.camera

    @property
    def last_update_ms(self) -> int | None:
        """Time of its last status or observation; None for a recording without a status."""
        seen_ms = self.last_observed_ms or 0
        return max(self.reported_ms or 0, seen_ms if is_time_of_day(seen_ms) else 0) or None


@dataclass(frozen=True)
class Run:
    """One uninterrupted reading of a camera. With clock "media", times are positions in a file."""

    camera: str
    run: str
    clock: str | None
    first_ms: int | None
    last_ms: int | None
    stored_ms: int


def camera_overview(
    engine: Engine, since_ms: int, until_ms: int, screen_ms: int = 2_000
) -> list[CameraOverview]:
    """All known cameras, by name.

    `tracks` counts those that overlap [since_ms, until_ms); `faces` the tracks seen in the
    `screen_ms` before until_ms.
    """
    status = camera_status.c
    query = (
        select(
            cameras.c.camera,
            cameras.c.settings,
            status.run,
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
    with begin_read(engine) as connection:
        rows = connection.execute(query).mappings().all()
    return [_overview(row, until_ms) for row in rows]


def list_runs(engine: Engine, camera: str | None = None, limit: int = 50) -> list[Run]:
    """The runs stored last, newest first; of one camera, or of all cameras."""
    query = select(runs).order_by(runs.c.stored_ms.desc(), runs.c.run).limit(limit)
    if camera is not None:
        query = query.where(runs.c.camera == camera)
    with begin_read(engine) as connection:
        return [Run(**row) for row in connection.execute(query).mappings()]


def _overview(row: Mapping[Any, Any], now_ms: int) -> CameraOverview:
    settings = json.loads(row["settings"] or "{}")
    found = CameraOverview(
        camera=row["camera"],
        state=UNKNOWN if row["settings"] is None else REGISTERED,
        since_ms=None,
        reason="",
        fps=row["fps"],
        lag_ms=row["lag_ms"],
        shed=row["shed"] or {},
        reported_ms=row["reported_ms"],
        last_observed_ms=row["last_observed_ms"],
        faces=row["faces"],
        tracks=row["tracks"],
        display_name=settings.get("display_name", ""),
        purpose=settings.get("purpose", ""),
    )
    reported = None
    if row["state"] is not None:
        state, reason = from_record(row["state"], row["run"], row["reason"])
        reported = CameraState(state, state_start_ms(row["since_ms"], row["reported_ms"]), reason)
    current = current_state(
        reported,
        found.last_update_ms or 0,
        now_ms,
        is_registered=row["settings"] is not None,
        is_enabled=settings.get("enabled", True),
    )
    state = current.state if current else found.state
    return replace(
        found,
        state=state,
        since_ms=(current.since_ms or None) if current else None,
        reason=current.reason if current else "",
        fps=found.fps if state in VIDEO_STATES else None,
        lag_ms=found.lag_ms if state in VIDEO_STATES else None,
    )


def _latest_status() -> ScalarSelect[str]:
    status = camera_status.alias().c
    query = select(status.id).where(status.camera == cameras.c.camera)
    # By arrival first: `seq` restarts with each run, and a file's `since_ms` is no time of day.
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
