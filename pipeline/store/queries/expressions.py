"""Which expressions were seen: over time and in sum, per camera.

Short windows are answered from the looks themselves; longer ones from the minutes' roll-up, and so
begin and end with a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, func, literal, select

from pipeline.store.faults import reading
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
"""The longest windows that are answered from the looks: of one camera, and of all of them."""
MINUTE_MS = 60_000
SECOND_MS = 1_000


@dataclass(frozen=True)
class Shares:
    """How often each label was shown, and the mean of the eight probabilities.

    counts: smoothed label to looks, `unknown` among them; mean: (8,) in the order of EMOTIONS.
    """

    observations: int
    counts: dict[str, int]
    mean: tuple[float, ...]


@dataclass(frozen=True)
class TimelinePoint:
    """The looks captured in [start_ms, start_ms + bucket_ms) of its timeline."""

    start_ms: int
    shares: Shares


@dataclass(frozen=True)
class Timeline:
    """Points in order of time; a bucket without looks has none."""

    bucket_ms: int
    points: tuple[TimelinePoint, ...]


def expression_timeline(
    engine: Engine,
    camera: str,
    since_ms: int,
    until_ms: int,
    points: int = 240,
    run: str | None = None,
) -> Timeline:
    """The expressions of one camera over [since_ms, until_ms), in about `points` buckets.

    Name the run of a recording: the times of each of its runs count from the file's start.
    """
    live = until_ms - since_ms <= TIMELINE_LIVE_MS
    step = SECOND_MS if live else MINUTE_MS
    bucket_ms = step * max(1, -(-(until_ms - since_ms) // (step * points)))
    time = observations.c.captured_ms if live else emotion_minutes.c.minute_ms
    start = (time - time % _inline(bucket_ms)).label("start_ms")
    query = _window(start, live, since_ms, until_ms, camera, run)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by("start_ms")).all()
    return Timeline(bucket_ms, tuple(TimelinePoint(row[0], _shares(row)) for row in rows))


def expression_shares(
    engine: Engine,
    since_ms: int,
    until_ms: int,
    camera: str | None = None,
    run: str | None = None,
) -> dict[str, Shares]:
    """The expressions over [since_ms, until_ms), in sum; of each camera, or of one, or of a run."""
    live = until_ms - since_ms <= SHARES_LIVE_MS
    key = observations.c.camera if live else emotion_minutes.c.camera
    query = _window(key, live, since_ms, until_ms, camera, run)
    with reading(engine) as connection:
        return {row[0]: _shares(row) for row in connection.execute(query)}


def _inline(number: int) -> ColumnElement[int]:
    # PostgreSQL takes two bound values for two different expressions and refuses the GROUP BY.
    return literal(number, literal_execute=True)


def _window(
    key: ColumnElement[Any],
    live: bool,
    since_ms: int,
    until_ms: int,
    camera: str | None,
    run: str | None,
) -> Select[Any]:
    """Rows of the key, the looks of each label, and the eight summed probabilities."""
    asked = observations.c if live else emotion_minutes.c
    time = asked.captured_ms if live else asked.minute_ms
    since_ms -= 0 if live else since_ms % MINUTE_MS
    query = (
        select(key, *(_live_sums() if live else _minute_sums()))
        # Both indexes begin with the camera: without one to name, name them all.
        .where(asked.camera.in_(select(cameras.c.camera) if camera is None else [camera]))
        .where(time >= since_ms, time < until_ms)
        .group_by(key)
    )
    return query if run is None else query.where(asked.run == run)


def _live_sums() -> list[ColumnElement[Any]]:
    seen = observations.c
    counts = [func.count().filter(seen.smoothed_label == label) for label in LABELS]
    return [*counts, *(func.sum(seen[name]) for name in PROBABILITIES)]


def _minute_sums() -> list[ColumnElement[Any]]:
    return [func.sum(emotion_minutes.c[name]) for name in COUNTS + SUMS]


def _shares(row: Sequence[Any]) -> Shares:
    counts = {label: int(n) for label, n in zip(LABELS, row[1:], strict=False) if n}
    number = sum(counts.values())
    return Shares(number, counts, tuple(value / number for value in row[1 + len(LABELS) :]))
