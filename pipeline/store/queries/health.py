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
MODE_ROWS = 2_000
"""The modes in use are those of at most this many rows."""
LOSS_REASONS, PAYLOAD_BYTES = 50, 2_000
"""At most so many reasons of losses, and so much of each dead letter, are read."""
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
class ModeUse:
    """Which weights classified, how they were run, and their share of the observations."""

    model: str
    mode: str
    share: float


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


@dataclass(frozen=True)
class LossTotal:
    """Events lost for one reason: how many, in how many gaps, and when the last one ended."""

    reason: str
    events: int
    gaps: int
    last_ms: int


@dataclass(frozen=True)
class DeadLetterRow:
    """A record that could not be stored: its origin, why, when, its size in bytes, and the first
    PAYLOAD_BYTES of it."""

    origin: str
    reason: str
    stored_ms: int
    size: int
    start: bytes


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


def count_stored(engine: Engine, since_ms: int, until_ms: int) -> int:
    """The number of observations stored in [since_ms, until_ms)."""
    seen = observations.c
    query = select(func.count()).where(seen.stored_ms >= since_ms, seen.stored_ms < until_ms)
    with begin_read(engine) as connection:
        return connection.execute(query).scalar_one()


def modes_in_use(engine: Engine, since_ms: int, until_ms: int) -> list[ModeUse]:
    """The weights and modes of the newest MODE_ROWS rows stored in [since_ms, until_ms), the most
    frequent first."""
    seen = observations.c
    newest = (
        select(seen.model, seen.mode)
        .where(seen.stored_ms >= since_ms, seen.stored_ms < until_ms)
        .order_by(seen.stored_ms.desc())
        .limit(MODE_ROWS)
        .subquery()
    )
    query = select(newest.c.model, newest.c.mode, func.count().label("rows"))
    with begin_read(engine) as connection:
        found = connection.execute(query.group_by(newest.c.model, newest.c.mode)).all()
    total = sum(rows for _, _, rows in found)
    uses = [ModeUse(model, mode, rows / total) for model, mode, rows in found]
    return sorted(uses, key=lambda use: (-use.share, use.model, use.mode))


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


def loss_totals(engine: Engine, since_ms: int, until_ms: int) -> list[LossTotal]:
    """Events lost in gaps that overlap [since_ms, until_ms), by reason, the most first. Of a gap
    that begins before or ends later all events count: when each was captured is not known."""
    gap = gaps.c
    query = (
        select(gap.reason, func.sum(gap.events), func.count(), func.max(gap.until_ms))
        .where(gap.until_ms >= since_ms, gap.since_ms < until_ms)
        .group_by(gap.reason)
        .order_by(func.sum(gap.events).desc(), gap.reason)
        .limit(LOSS_REASONS)
    )
    with begin_read(engine) as connection:
        return [
            LossTotal(reason, int(events), number, last_ms)
            for reason, events, number, last_ms in connection.execute(query)
        ]


def recent_dead_letters(engine: Engine, limit: int = 10) -> list[DeadLetterRow]:
    """The dead letters that were stored last, newest first, each with the first of its bytes."""
    row = dead_letters.c
    start = func.substr(row.payload, 1, PAYLOAD_BYTES).label("start")
    query = (
        select(row.origin, row.reason, row.stored_ms, func.length(row.payload).label("size"), start)
        .order_by(row.stored_ms.desc(), row.origin)
        .limit(limit)
    )
    with begin_read(engine) as connection:
        return [
            DeadLetterRow(one.origin, one.reason, one.stored_ms, one.size, bytes(one.start))
            for one in connection.execute(query)
        ]


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
