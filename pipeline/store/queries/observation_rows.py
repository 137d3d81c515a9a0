"""Stored observations as flat rows, in pages: for other programs, exports and live streams."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, and_, or_, select

from pipeline.store.engine import begin_read
from pipeline.store.schema import observations

Row = dict[str, Any]
Place = tuple[int, str]
"""A time in milliseconds and the id of an observation: where a page ended."""
START: Place = (-(2**63), "")
COLUMNS = tuple(column.name for column in observations.columns if column.name != "stored_ms")
"""The names of a row's values, in order; see the schema of `face_observed`."""


def list_observations(
    engine: Engine,
    camera: str,
    since_ms: int,
    until_ms: int,
    after: Place = START,
    limit: int = 1_000,
    track: tuple[str, int] | None = None,
) -> list[Row]:
    """Observations of a camera captured in [since_ms, until_ms), in order of capture and id, behind
    the place `after` (captured_ms, id). `track`: of this run and track only."""
    seen = observations.c
    terms = [
        seen.camera == camera,
        seen.captured_ms >= max(since_ms, after[0]),
        seen.captured_ms < until_ms,
        or_(seen.captured_ms > after[0], seen.id > after[1]),
    ]
    if track is not None:
        terms += [seen.run == track[0], seen.track == track[1]]
    query = (
        select(*(seen[name] for name in COLUMNS))
        .where(and_(*terms))
        .order_by(seen.captured_ms, seen.id)
        .limit(limit)
    )
    with begin_read(engine) as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def observations_stored(
    engine: Engine, after: Place, limit: int = 500, camera: str | None = None
) -> list[tuple[Place, Row]]:
    """Observations stored behind the place `after` (stored_ms, id), each with its own place."""
    seen = observations.c
    query = (
        select(seen.stored_ms, *(seen[name] for name in COLUMNS))
        .where(
            seen.stored_ms >= after[0],
            or_(seen.stored_ms > after[0], seen.id > after[1]),
        )
        .order_by(seen.stored_ms, seen.id)
        .limit(limit)
    )
    if camera is not None:
        query = query.where(seen.camera == camera)
    with begin_read(engine) as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    return [((row.pop("stored_ms"), row["id"]), row) for row in rows]
