"""Which expressions were seen: over time and in sum, per camera.

Windows longer than LIVE_MS are answered from the minutes' roll-up and so widen to whole minutes;
shorter ones from the looks themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, func, literal, select

from models.emotions import EMOTIONS
from pipeline.store.faults import reading
from pipeline.store.schema import PROBABILITIES, SUMS, emotion_minutes, observations

LIVE_MS = 10 * 60_000
"""The longest window that is answered from the looks, milliseconds."""
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
    live = _is_live(since_ms, until_ms)
    step = SECOND_MS if live else MINUTE_MS
    bucket_ms = step * max(1, -(-(until_ms - since_ms) // (step * points)))
    time = observations.c.captured_ms if live else emotion_minutes.c.minute_ms
    start = (time - time % _inline(bucket_ms)).label("start_ms")
    query = _of(_window(start, since_ms, until_ms), live, camera, run)
    with reading(engine) as connection:
        found = _shares_by(connection.execute(query).mappings(), "start_ms")
    return Timeline(bucket_ms, tuple(TimelinePoint(key, found[key]) for key in sorted(found)))


def expression_shares(
    engine: Engine,
    since_ms: int,
    until_ms: int,
    camera: str | None = None,
    run: str | None = None,
) -> dict[str, Shares]:
    """The expressions over [since_ms, until_ms), in sum; of each camera, or of one, or of a run."""
    live = _is_live(since_ms, until_ms)
    key = observations.c.camera if live else emotion_minutes.c.camera
    query = _of(_window(key, since_ms, until_ms), live, camera, run)
    with reading(engine) as connection:
        found: dict[str, Shares] = _shares_by(connection.execute(query).mappings(), "camera")
    return found


def _is_live(since_ms: int, until_ms: int) -> bool:
    return until_ms - since_ms <= LIVE_MS


def _inline(number: int) -> ColumnElement[int]:
    # PostgreSQL takes two bound values for two different expressions and refuses the GROUP BY.
    return literal(number, literal_execute=True)


def _window(key: ColumnElement[Any], since_ms: int, until_ms: int) -> Select[Any]:
    """Looks and summed probabilities by `key` and label."""
    if _is_live(since_ms, until_ms):
        seen = observations.c
        label = seen.smoothed_label
        count: ColumnElement[int] = func.count()
        sums = [func.sum(seen[name]) for name in PROBABILITIES]
        when = (seen.captured_ms >= since_ms, seen.captured_ms < until_ms)
    else:
        minute = emotion_minutes.c
        label = minute.label
        count = func.sum(minute.observations)
        sums = [func.sum(minute[name]) for name in SUMS]
        when = (minute.minute_ms >= since_ms - since_ms % MINUTE_MS, minute.minute_ms < until_ms)
    columns = [value.label(name) for value, name in zip(sums, SUMS, strict=True)]
    query = select(key, label.label("label"), count.label("observations"), *columns)
    return query.where(*when).group_by(key, label)


def _of(query: Select[Any], live: bool, camera: str | None, run: str | None) -> Select[Any]:
    asked = (observations if live else emotion_minutes).c
    if camera is not None:
        query = query.where(asked.camera == camera)
    if run is not None:
        query = query.where(asked.run == run)
    return query


def _shares_by(rows: Iterable[Mapping[Any, Any]], key: str) -> dict[Any, Shares]:
    counts: dict[Any, dict[str, int]] = {}
    sums: dict[Any, list[float]] = {}
    for row in rows:
        counts.setdefault(row[key], {})[row["label"]] = int(row["observations"])
        total = sums.setdefault(row[key], [0.0] * len(EMOTIONS))
        sums[row[key]] = [old + row[name] for old, name in zip(total, SUMS, strict=True)]
    return {name: shares_of(counts[name], sums[name]) for name in counts}


def shares_of(counts: dict[str, int], sums: Iterable[float]) -> Shares:
    """Shares from looks per label and the eight probabilities summed over all of them."""
    number = sum(counts.values())
    return Shares(number, counts, tuple(value / number for value in sums))
