"""Expressions per camera: over time and in total.

Short windows are computed from the observations; longer ones from the roll-up per minute, so they
begin and end with a whole minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, func, literal, select

from pipeline.store.engine import begin_read
from pipeline.store.schema import (
    COUNTS,
    LABELS,
    PROBABILITIES,
    SUMS,
    cameras,
    emotion_minutes,
    observations,
)

TIMELINE_LIVE_MS = 10 * 60_000
SHARES_LIVE_MS = 2 * 60_000
"""Longest windows computed from observations: for one camera, and for all cameras."""
MINUTE_MS = 60_000
SECOND_MS = 1_000
HOUR_MS = 60 * MINUTE_MS
BUCKETS_MS = (
    *(step * SECOND_MS for step in (1, 2, 5, 10, 15, 30)),
    *(step * MINUTE_MS for step in (1, 2, 5, 10, 15, 30)),
    *(step * HOUR_MS for step in (1, 2, 3, 6, 12, 24)),
)
"""The lengths that buckets have: round, and each a divisor of the day."""


@dataclass(frozen=True)
class Shares:
    """How often each label was observed, and the mean of the eight probabilities.

    counts: smoothed label, `unknown` too, to observations; mean: (8,) in the order of EMOTIONS, or
    () where it was not asked for.
    """

    observations: int
    counts: dict[str, int]
    mean: tuple[float, ...]


@dataclass(frozen=True)
class TimelinePoint:
    """The observations captured in [start_ms, start_ms + bucket_ms) of its timeline."""

    start_ms: int
    shares: Shares


@dataclass(frozen=True)
class Timeline:
    """Points in order of time; a bucket without observations has none."""

    bucket_ms: int
    points: tuple[TimelinePoint, ...]


def choose_bucket(window_ms: int, points: int) -> int:
    """The shortest round bucket that cuts a window into at most `points`; of a window that is read
    from minutes at least a minute.

    >>> choose_bucket(600_000, 120), choose_bucket(86_400_000, 120)
    (5000, 900000)
    """
    least = SECOND_MS if window_ms <= TIMELINE_LIVE_MS else MINUTE_MS
    fitting = (b for b in BUCKETS_MS if b >= least and window_ms <= b * points)
    day = BUCKETS_MS[-1]
    return next(fitting, -(-window_ms // (day * points)) * day)


def expression_timeline(
    engine: Engine,
    camera: str | None,
    since_ms: int,
    until_ms: int,
    points: int = 240,
    run: str | None = None,
    offset_ms: int = 0,
    bucket_ms: int | None = None,
) -> Timeline:
    """The expressions of one camera, or of all, over [since_ms, until_ms), in at most about
    `points` round buckets, or in buckets of `bucket_ms`.

    Buckets begin at multiples of their length, counted from midnight where local time is
    `offset_ms` ahead of UTC. Give `run` for a recording: the times of every run of it count from
    the file's start.
    """
    bucket_ms = bucket_ms or choose_bucket(until_ms - since_ms, points)
    is_short = until_ms - since_ms <= TIMELINE_LIVE_MS and camera is not None
    time = observations.c.captured_ms if is_short else emotion_minutes.c.minute_ms
    start = (time - (time + _inline(offset_ms)) % _inline(bucket_ms)).label("start_ms")
    query = _window(start, is_short, since_ms, until_ms, camera, run)
    with begin_read(engine) as connection:
        rows = connection.execute(query.order_by("start_ms")).all()
    return Timeline(bucket_ms, tuple(TimelinePoint(row[0], _shares(row)) for row in rows))


def expression_timelines(
    engine: Engine,
    cameras: Sequence[str],
    since_ms: int,
    until_ms: int,
    bucket_ms: int,
    offset_ms: int = 0,
    with_means: bool = True,
) -> dict[str, Timeline]:
    """The same of several cameras at once, from the roll-up per minute; without means, which take
    as long again, each `mean` is empty."""
    minute = emotion_minutes.c
    start = minute.minute_ms - (minute.minute_ms + _inline(offset_ms)) % _inline(bucket_ms)
    sums = _minute_sums() if with_means else _minute_sums()[: len(COUNTS)]
    query = (
        select(minute.camera, start.label("start_ms"), *sums)
        .where(minute.camera.in_(cameras))
        .where(minute.minute_ms >= since_ms - since_ms % MINUTE_MS, minute.minute_ms < until_ms)
        .group_by(minute.camera, start)
        .order_by("start_ms")
    )
    points: dict[str, list[TimelinePoint]] = {camera: [] for camera in cameras}
    with begin_read(engine) as connection:
        for camera, *row in connection.execute(query):
            points[camera].append(TimelinePoint(row[0], _shares(row)))
    return {camera: Timeline(bucket_ms, tuple(found)) for camera, found in points.items()}


def expression_shares(
    engine: Engine,
    since_ms: int,
    until_ms: int,
    camera: str | None = None,
    run: str | None = None,
) -> dict[str, Shares]:
    """Totals over [since_ms, until_ms) by camera: of all cameras, of one, or of one run."""
    is_short = until_ms - since_ms <= SHARES_LIVE_MS
    key = observations.c.camera if is_short else emotion_minutes.c.camera
    query = _window(key, is_short, since_ms, until_ms, camera, run)
    with begin_read(engine) as connection:
        return {row[0]: _shares(row) for row in connection.execute(query)}


def _inline(number: int) -> ColumnElement[int]:
    # PostgreSQL treats two bound parameters as different expressions, even where their values are
    # equal, and refuses the GROUP BY.
    return literal(number, literal_execute=True)


def _window(
    key: ColumnElement[Any],
    is_short: bool,
    since_ms: int,
    until_ms: int,
    camera: str | None,
    run: str | None,
) -> Select[Any]:
    """Rows of the key, the observations of each label, and the eight summed probabilities."""
    columns = observations.c if is_short else emotion_minutes.c
    time = columns.captured_ms if is_short else columns.minute_ms
    since_ms -= 0 if is_short else since_ms % MINUTE_MS
    query = (
        select(key, *(_observation_sums() if is_short else _minute_sums()))
        # Both indexes begin with the camera. Listing all cameras lets them serve this case too.
        .where(columns.camera.in_(select(cameras.c.camera) if camera is None else [camera]))
        .where(time >= since_ms, time < until_ms)
        .group_by(key)
    )
    return query if run is None else query.where(columns.run == run)


def _observation_sums() -> list[ColumnElement[Any]]:
    seen = observations.c
    counts = [func.count().filter(seen.smoothed_label == label) for label in LABELS]
    return [*counts, *(func.sum(seen[name]) for name in PROBABILITIES)]


def _minute_sums() -> list[ColumnElement[Any]]:
    return [func.sum(emotion_minutes.c[name]) for name in COUNTS + SUMS]


def _shares(row: Sequence[Any]) -> Shares:
    counts = {label: int(n) for label, n in zip(LABELS, row[1:], strict=False) if n}
    number = sum(counts.values())
    return Shares(number, counts, tuple(value / number for value in row[1 + len(LABELS) :]))
