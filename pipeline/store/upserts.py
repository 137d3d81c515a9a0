"""The statements that write: inserts and upserts, for SQLite and PostgreSQL alike.

Rows go in sorted by key, so that two writers wait for each other and never deadlock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Executable,
    Result,
    Table,
    bindparam,
    case,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.records import Event, FaceObserved
from pipeline.store.rows import Row
from pipeline.store.schema import (
    COUNTS,
    LABELS,
    PROBABILITIES,
    SUMS,
    cameras,
    emotion_minutes,
    gaps,
    runs,
    tracks,
)

MINUTE_MS = 60_000
Upsert = postgresql.Insert | sqlite.Insert


def _insert(connection: Connection, table: Table) -> Upsert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    # One array a column: with a value a cell, psycopg spends 0.5 ms a row on the statement's text.
    names = [column.name for column in table.columns]
    arrays = [bindparam(f"every_{c.name}", type_=postgresql.ARRAY(c.type)) for c in table.columns]
    rows = func.unnest(*arrays).table_valued(*names).render_derived()
    return postgresql.insert(table).from_select(names, select(rows))


def _run(connection: Connection, statement: Executable, rows: Sequence[Row]) -> Result[Any]:
    if connection.dialect.name == "sqlite":
        return connection.execute(statement, rows)
    arrays = {f"every_{name}": [row[name] for row in rows] for name in rows[0]}
    return connection.execute(statement, arrays)


def _sorted(rows: Mapping[str, Row]) -> list[Row]:
    return [rows[key] for key in sorted(rows)]


def insert_new(connection: Connection, table: Table, rows: Mapping[str, Row]) -> Sequence[str]:
    """Inserts the rows, by primary key, that are not there yet; returns the keys of these."""
    if not rows:
        return []
    (key,) = table.primary_key
    insert = _insert(connection, table).on_conflict_do_nothing().returning(key)
    return _run(connection, insert, _sorted(rows)).scalars().all()


def write_origins(connection: Connection, events: Sequence[Event], now: int) -> None:
    """Makes known the cameras and runs of the events, and from when to when each run has looks."""
    names = sorted({event.camera for event in events})
    insert = _insert(connection, cameras).on_conflict_do_nothing()
    heard = {"stored_ms": now, "settings": None, "origin": None}
    _run(connection, insert, [{"camera": name, **heard} for name in names])
    _run(connection, _widen_runs(_insert(connection, runs)), _run_rows(events, now))


def put_camera(connection: Connection, row: Row) -> None:
    """Puts a camera on the roster, or its settings in place of those that it had."""
    insert = _insert(connection, cameras)
    changed = insert.on_conflict_do_update(
        index_elements=[cameras.c.camera],
        set_={name: insert.excluded[name] for name in ("settings", "origin")},
    )
    _run(connection, changed, [row])


def _run_rows(events: Sequence[Event], now: int) -> list[Row]:
    looks: dict[tuple[str, str], list[FaceObserved]] = {(e.camera, e.run): [] for e in events}
    for event in events:
        if isinstance(event, FaceObserved):
            looks[event.camera, event.run].append(event)
    return [
        {
            "camera": camera,
            "run": run,
            "clock": max((look.clock for look in seen), default=None),
            "first_ms": min((look.captured_ms for look in seen), default=None),
            "last_ms": max((look.captured_ms for look in seen), default=None),
            "stored_ms": now,
        }
        for (camera, run), seen in sorted(looks.items())
    ]


def _widen_runs(insert: Upsert) -> Upsert:
    old, new = runs.c, insert.excluded
    better = {
        "clock": or_(old.clock.is_(None), new.clock > old.clock),
        "first_ms": or_(old.first_ms.is_(None), new.first_ms < old.first_ms),
        "last_ms": or_(old.last_ms.is_(None), new.last_ms > old.last_ms),
    }
    return insert.on_conflict_do_update(
        index_elements=[old.camera, old.run],
        set_={
            name: case((is_better, new[name]), else_=old[name])
            for name, is_better in better.items()
        },
        where=or_(*better.values()),
    )


def grow_minutes(connection: Connection, rows: Iterable[Row]) -> None:
    """Adds looks to their minute, once each: give only those that were really inserted."""
    minutes: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        minute_ms = row["captured_ms"] - row["captured_ms"] % MINUTE_MS
        minutes.setdefault((row["camera"], minute_ms, row["run"]), []).append(row)
    if not minutes:
        return
    insert = _insert(connection, emotion_minutes)
    grown = insert.on_conflict_do_update(
        index_elements=list(emotion_minutes.primary_key),
        set_={name: emotion_minutes.c[name] + insert.excluded[name] for name in COUNTS + SUMS},
    )
    _run(connection, grown, [_minute_row(*key, minutes[key]) for key in sorted(minutes)])


def _minute_row(camera: str, minute_ms: int, run: str, rows: list[Row]) -> Row:
    shown = Counter(row["smoothed_label"] for row in rows)
    return {
        "camera": camera,
        "minute_ms": minute_ms,
        "run": run,
        **{name: shown[label] for name, label in zip(COUNTS, LABELS, strict=True)},
        **{
            total: math.fsum(row[name] for row in rows)
            for total, name in zip(SUMS, PROBABILITIES, strict=True)
        },
    }


def advance_tracks(connection: Connection, rows: Iterable[Row]) -> int:
    """Stores the newest word on each track; returns how many tracks are new or changed."""
    newest: dict[str, Row] = {}
    for row in sorted(rows, key=_lateness):
        newest[row["id"]] = row
    if not newest:
        return 0
    insert = _insert(connection, tracks)
    old, new = tracks.c, insert.excluded
    old_ended, new_ended = (case((c.phase == "end", 1), else_=0) for c in (old, new))
    advance = insert.on_conflict_do_update(
        index_elements=[old.id],
        set_=dict(new.items()),
        # An end is the last word, whatever arrives after it: rows depend on the set of events only.
        # A file that was stopped ends its tracks early, and again when it is read to its end.
        where=tuple_(new_ended, new.seq, new.observations)
        > tuple_(old_ended, old.seq, old.observations),
    )
    return len(_run(connection, advance.returning(old.id), _sorted(newest)).all())


def _lateness(track: Row) -> tuple[Any, ...]:
    return track["phase"] == "end", track["seq"], track["observations"]


def grow_gaps(connection: Connection, rows: Iterable[Row]) -> int:
    """Stores the telling of each gap that has the most events; returns how many are new or grew."""
    largest = {row["id"]: row for row in sorted(rows, key=lambda row: row["events"])}
    if not largest:
        return 0
    insert = _insert(connection, gaps)
    grown = insert.on_conflict_do_update(
        index_elements=[gaps.c.id],
        set_=dict(insert.excluded.items()),
        where=insert.excluded.events > gaps.c.events,
    )
    return len(_run(connection, grown.returning(gaps.c.id), _sorted(largest)).all())
