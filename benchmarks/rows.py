"""Synthetic rows of one week: sixteen cameras, about sixty observations per track, more by day than
by night, and two faces per camera right now.

Only sizes and orders matter here: the rows serve to time queries, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, Table, text

from models.emotions import EMOTIONS
from pipeline.store.engine import for_writing
from pipeline.store.schema import (
    LABELS,
    PROBABILITIES,
    camera_status,
    dead_letters,
    gaps,
    observations,
)
from pipeline.store.upserts import TOTALLED

CAMERAS = 16
WEEK_MS = 7 * 24 * 3_600_000
MEAN_OBSERVATIONS = 60
FULL_ROWS = 5_000_000
"""With fewer rows than this, the busy time and the long track are shorter."""
BUSY_MS, LANES, PACE_MS = 15 * 60_000, 2, 100
"""The busy time until now: two faces per camera, ten observations per second each."""
LONG_OBSERVATIONS = 18_000
"""One more face stays in view of the first camera for half an hour."""
GAPS_MS = (40, 100, 200, 400)
UNKNOWN_SHARE = 0.05
STATUS_MS, STATE_MS = 60_000, 3_600_000
DEAD_LETTERS, GAPS = 1_000, 200
CHUNK = 50_000
Whole = NDArray[np.int64]
Columns = dict[str, Whole]


def fill(engine: Engine, rows: int, now_ms: int, seed: int = 0) -> None:
    """Fills an empty store with `rows` observations and their other rows, up to now_ms."""
    rng = np.random.default_rng(seed)
    observed = _observe(rng, rows, now_ms)
    for first in range(0, rows, CHUNK):
        part = {name: values[first : first + CHUNK] for name, values in observed.items()}
        _insert_bulk(engine, observations, _observation_rows(rng, part, now_ms))
    _insert_bulk(engine, camera_status, _status_rows(now_ms))
    _insert_bulk(engine, gaps, _gap_rows(now_ms))
    _insert_bulk(engine, dead_letters, _dead_letter_rows(now_ms))
    _roll_up(engine)


def _observe(rng: np.random.Generator, rows: int, now_ms: int) -> Columns:
    """Camera, track, label and time of every observation, in order of time."""
    tracks = _tracks(rng, rows, now_ms)
    number = np.repeat(np.arange(len(tracks["observed"])), tracks["observed"])[:rows]
    first = np.cumsum(tracks["observed"]) - tracks["observed"]
    frame = np.arange(rows) - first[number]
    captured = tracks["start_ms"][number] + frame * tracks["gap_ms"][number]
    order = np.argsort(captured, kind="stable")
    number = number[order]
    return {
        "camera": tracks["camera"][number],
        "track": number + 1,
        "label": tracks["label"][number],
        "frame": frame[order],
        "captured_ms": np.minimum(captured[order], now_ms - 1),
    }


def _tracks(rng: np.random.Generator, rows: int, now_ms: int) -> Columns:
    """The long track, the busy time, then the week: more than enough for `rows` observations."""
    size = min(1.0, rows / FULL_ROWS)
    long = max(1, round(LONG_OBSERVATIONS * size))
    camera, lane, turn = np.meshgrid(
        np.arange(CAMERAS),
        np.arange(LANES),
        np.arange(round(BUSY_MS * size / (PACE_MS * MEAN_OBSERVATIONS))),
        indexing="ij",
    )
    busy = camera.size
    week = 2 * rows // MEAN_OBSERVATIONS
    observed = np.concatenate(
        [[long], np.full(busy, MEAN_OBSERVATIONS), rng.geometric(1 / MEAN_OBSERVATIONS, week)]
    )
    start = np.concatenate(
        [
            [now_ms - long * PACE_MS],
            now_ms - (turn.ravel() + 1) * PACE_MS * MEAN_OBSERVATIONS + lane.ravel(),
            now_ms - _busy_hours(rng, week),
        ]
    )
    return {
        "camera": np.concatenate([[0], camera.ravel(), rng.integers(0, CAMERAS, week)]),
        "observed": observed,
        "start_ms": start,
        "gap_ms": np.concatenate([np.full(1 + busy, PACE_MS), rng.choice(GAPS_MS, week)]),
        "label": rng.integers(0, len(EMOTIONS), 1 + busy + week),
    }


def _busy_hours(rng: np.random.Generator, number: int) -> Whole:
    """Milliseconds ago, within the week; noon is nine times as busy as midnight."""
    ago = rng.integers(BUSY_MS, WEEK_MS, 4 * number)
    day = np.cos(2 * np.pi * (ago / (24 * 3_600_000) - 0.5))
    return ago[rng.random(4 * number) < 0.5 + 0.4 * day][:number]


def _observation_rows(rng: np.random.Generator, observed: Columns, now_ms: int) -> Iterator[Any]:
    size = len(observed["frame"])
    shares = rng.standard_gamma(0.6, (size, len(EMOTIONS)))
    shares[np.arange(size), observed["label"]] += 3.0
    shares = np.round(shares / shares.sum(axis=1, keepdims=True), 6)
    best = shares.argmax(axis=1)
    shown = np.where(rng.random(size) < UNKNOWN_SHARE, len(EMOTIONS), observed["label"])
    delay = np.round(rng.lognormal(5.0, 0.5, size)).astype(np.int64)
    box = np.round(rng.random((size, 4)), 4).tolist()
    columns = (observed[name].tolist() for name in ("camera", "track", "frame", "captured_ms"))
    plain = zip(*columns, best.tolist(), shown.tolist(), delay.tolist(), strict=True)
    for (camera, track, frame, ms, label, smooth, late), where, p in zip(
        plain, box, shares.tolist(), strict=True
    ):
        name, run = f"cam-{camera}", f"e{(now_ms - ms) // 86_400_000}"
        clock = "rtcp" if camera < CAMERAS * 3 // 4 else "arrival"
        times = (frame * 40, ms, clock, ms + 5, ms + late // 2, ms + late - 5)
        yield (
            *(f"obs:{name}:{run}:{track}:{frame}", name, run, track, frame, *times),
            *(*where, 0.9, *p, LABELS[label], p[label], LABELS[smooth], 0.7, 0.3),
            *(0.2, 0.5, 80.0, "resnet18-w36", "auto", "", ms + late),
        )


def _status_rows(now_ms: int) -> Iterator[Any]:
    for n, ms in enumerate(range(now_ms - WEEK_MS, now_ms, STATUS_MS)):
        for camera in range(CAMERAS):
            name, run = f"cam-{camera}", f"e{(now_ms - ms) // 86_400_000}"
            shed = json.dumps({"stale": n, "newer frame": 3 * n})
            since = ms - ms % STATE_MS
            state = f"cam:{name}:{run}:{n}", name, run, n, "online", since, ""
            yield (*state, 25.0, 40, shed, ms + 100)


def _gap_rows(now_ms: int) -> Iterator[Any]:
    for n in range(GAPS):
        ms = now_ms - n * (WEEK_MS // GAPS)
        yield (f"gap:{n}", f"cam-{n % CAMERAS}", "e0", ms, ms + 1_000, 25, "outbox full", ms)


def _dead_letter_rows(now_ms: int) -> Iterator[Any]:
    for n in range(DEAD_LETTERS):
        yield (f"undercam.observations[0]@{n}", "not JSON", b"{" * 200, now_ms - n * 1_000)


def _insert_bulk(engine: Engine, table: Table, rows: Iterator[Any]) -> None:
    """Inserts in bulk, by each database's fastest way, with all indexes in place."""
    with for_writing(engine).begin() as connection:
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name == "sqlite":
            marks = ", ".join("?" * len(table.columns))
            driver.executemany(f"INSERT INTO {table.name} VALUES ({marks})", rows)
            return
        with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def _roll_up(engine: Engine) -> None:
    sums = ", ".join(f"sum({name})" for name in PROBABILITIES)
    counts = ", ".join(f"count(*) FILTER (WHERE smoothed_label = '{name}')" for name in LABELS)
    qualities = ", ".join(f"sum({name})" for name in TOTALLED)
    means = ", ".join(f"avg({name})" for name in PROBABILITIES)
    statements = (
        "INSERT INTO cameras (camera, stored_ms)"
        " SELECT camera, min(stored_ms) FROM observations GROUP BY camera",
        "INSERT INTO runs SELECT camera, run, max(clock), min(captured_ms), max(captured_ms),"
        " min(stored_ms) FROM observations GROUP BY camera, run",
        "INSERT INTO tracks SELECT 'trk:' || camera || ':' || run || ':' || track, camera, run,"
        " track, 'end', count(*), min(captured_ms), max(captured_ms), count(*),"
        f" {means}, max(stored_ms) FROM observations GROUP BY camera, run, track",
        "INSERT INTO track_totals SELECT camera, run, track, min(captured_ms), max(captured_ms),"
        f" {counts}, {qualities}, '|' || max(mode) || '|'"
        " FROM observations GROUP BY camera, run, track",
        "INSERT INTO emotion_minutes SELECT camera, captured_ms - captured_ms % 60000, run,"
        f" {counts}, {sums} FROM observations GROUP BY 1, 2, 3",
    )
    for statement in statements:
        with for_writing(engine).begin() as connection:
            connection.execute(text(statement))
    if engine.dialect.name == "postgresql":
        # PostgreSQL's autovacuum does this in the background; SQLite has no such thing.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
