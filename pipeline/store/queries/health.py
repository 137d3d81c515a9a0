"""Latency, throughput and losses, measured from the stored rows."""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass

from sqlalchemy import Engine, func, select, text

from pipeline.store.engine import begin_read
from pipeline.store.schema import COUNTS, dead_letters, emotion_minutes, gaps, observations

LATENCY_ROWS = 10_000
"""Latency is computed from at most this many rows, the newest of the window."""
COUNT_LIMIT = 100_000
"""Dead letters are counted up to here."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds from capture to stored row, nearest-rank percentiles over `rows` rows."""

    clock: str
    rows: int
    p50_ms: int
    p99_ms: int


@dataclass(frozen=True)
class MinuteRows:
    """Number of stored observations captured in the minute that begins at `minute_ms`."""

    minute_ms: int
    rows: int


@dataclass(frozen=True)
class GapRow:
    """Events of a camera known to be lost, and why."""

    camera: str
    run: str
    since_ms: int
    until_ms: int
    events: int
    reason: str


def latency(engine: Engine, since_ms: int, until_ms: int) -> list[Latency]:
    """Latency from capture to stored row, of rows stored in [since_ms, until_ms), per clock.

    Computed from the newest LATENCY_ROWS rows of the window. Files (clock "media") are left out:
    their capture times are not times of day.
    """
    seen = observations.c
    query = (
        select(seen.clock, seen.stored_ms - seen.captured_ms)
        .where(seen.stored_ms >= since_ms, seen.stored_ms < until_ms, seen.clock != "media")
        .order_by(seen.stored_ms.desc())
        .limit(LATENCY_ROWS)
    )
    delays: dict[str, list[int]] = {}
    with begin_read(engine) as connection:
        for clock, delay in connection.execute(query):
            delays.setdefault(clock, []).append(delay)
    return [_latency(clock, sorted(delays[clock])) for clock in sorted(delays)]


def rows_per_minute(engine: Engine, since_ms: int, until_ms: int) -> list[MinuteRows]:
    """Observations per minute of capture, in order; minutes without any are left out."""
    minute = emotion_minutes.c
    total = functools.reduce(operator.add, (minute[name] for name in COUNTS))
    query = (
        select(minute.minute_ms, func.sum(total))
        .where(minute.minute_ms >= since_ms, minute.minute_ms < until_ms)
        .group_by(minute.minute_ms)
        .order_by(minute.minute_ms)
    )
    with begin_read(engine) as connection:
        return [MinuteRows(start, int(rows)) for start, rows in connection.execute(query)]


def recent_gaps(
    engine: Engine,
    since_ms: int,
    until_ms: int,
    limit: int = 50,
    camera: str | None = None,
    run: str | None = None,
) -> list[GapRow]:
    """Gaps that overlap [since_ms, until_ms), latest first; of a camera, a run, or all."""
    gap = gaps.c
    query = (
        select(gap.camera, gap.run, gap.since_ms, gap.until_ms, gap.events, gap.reason)
        .where(gap.until_ms >= since_ms, gap.since_ms < until_ms)
        .order_by(gap.until_ms.desc(), gap.id)
        .limit(limit)
    )
    if camera is not None:
        query = query.where(gap.camera == camera)
    if run is not None:
        query = query.where(gap.run == run)
    with begin_read(engine) as connection:
        return [GapRow(**row) for row in connection.execute(query).mappings()]


def dead_letter_count(engine: Engine) -> int:
    """Number of dead letters, counted up to COUNT_LIMIT."""
    some = select(dead_letters.c.origin).limit(COUNT_LIMIT).subquery()
    with begin_read(engine) as connection:
        return connection.execute(select(func.count()).select_from(some)).scalar_one()


def database_bytes(engine: Engine) -> int:
    """Size of the database in bytes; for SQLite without its write-ahead log."""
    sql = {
        "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
        "postgresql": "SELECT pg_database_size(current_database())",
    }[engine.dialect.name]
    with begin_read(engine) as connection:
        return int(connection.execute(text(sql)).scalar_one())


def _latency(clock: str, delays: list[int]) -> Latency:
    def percentile(share: float) -> int:
        return delays[math.ceil(share * len(delays)) - 1]

    return Latency(clock, len(delays), percentile(0.50), percentile(0.99))
