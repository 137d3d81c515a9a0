"""The statements that write: inserts and upserts, for SQLite and PostgreSQL.

Rows are sorted by key before each statement: two writers then lock rows in the same order, so one
waits for the other and they never deadlock.
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
    TOTALS,
    cameras,
    deleted_observations,
    emotion_minutes,
    gaps,
    runs,
    track_totals,
    tracks,
)

MINUTE_MS = 60_000
TOTALLED = (
    *("smoothed_confidence", "uncertainty", "quality_blur", "quality_luma", "quality_size_px"),
)
"""Columns of an observation, in the order of TOTALS."""
Upsert = postgresql.Insert | sqlite.Insert


def _insert(connection: Connection, table: Table) -> Upsert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    # One array parameter per column. With one parameter per value, psycopg spends 0.5 ms per row
    # on building the statement's text.
    names = [column.name for column in table.columns]
    arrays = [bindparam(f"column_{c.name}", type_=postgresql.ARRAY(c.type)) for c in table.columns]
    rows = func.unnest(*arrays).table_valued(*names).render_derived()
    return postgresql.insert(table).from_select(names, select(rows))


def _execute(connection: Connection, statement: Executable, rows: Sequence[Row]) -> Result[Any]:
    if connection.dialect.name == "sqlite":
        return connection.execute(statement, rows)
    arrays = {f"column_{name}": [row[name] for row in rows] for name in rows[0]}
    return connection.execute(statement, arrays)


def _sort_rows(rows: Mapping[str, Row]) -> list[Row]:
    return [rows[key] for key in sorted(rows)]


def insert_new(connection: Connection, table: Table, rows: Mapping[str, Row]) -> Sequence[str]:
    """Inserts the rows (by primary key) that are not stored yet; returns the keys of those."""
    if not rows:
        return []
    (key,) = table.primary_key
    insert = _insert(connection, table).on_conflict_do_nothing().returning(key)
    return _execute(connection, insert, _sort_rows(rows)).scalars().all()


def upsert_cameras_and_runs(connection: Connection, events: Sequence[Event], now: int) -> None:
    """Stores the cameras and runs of the events; extends each run to the captures of its faces."""
    names = sorted({event.camera for event in events})
    insert = _insert(connection, cameras).on_conflict_do_nothing()
    unregistered = {"stored_ms": now, "settings": None, "origin": None}
    _execute(connection, insert, [{"camera": name, **unregistered} for name in names])
    _execute(connection, _extend_runs(_insert(connection, runs)), _run_rows(events, now))


def upsert_camera(connection: Connection, row: Row) -> None:
    """Inserts a registered camera, or replaces the settings and origin of a known one."""
    insert = _insert(connection, cameras)
    upsert = insert.on_conflict_do_update(
        index_elements=[cameras.c.camera],
        set_={name: insert.excluded[name] for name in ("settings", "origin")},
    )
    _execute(connection, upsert, [row])


def _run_rows(events: Sequence[Event], now: int) -> list[Row]:
    faces: dict[tuple[str, str], list[FaceObserved]] = {(e.camera, e.run): [] for e in events}
    for event in events:
        if isinstance(event, FaceObserved):
            faces[event.camera, event.run].append(event)
    return [
        {
            "camera": camera,
            "run": run,
            "clock": max((face.clock for face in seen), default=None),
            "first_ms": min((face.captured_ms for face in seen), default=None),
            "last_ms": max((face.captured_ms for face in seen), default=None),
            "stored_ms": now,
        }
        for (camera, run), seen in sorted(faces.items())
    ]


def _extend_runs(insert: Upsert) -> Upsert:
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


def upsert_minutes(connection: Connection, rows: Iterable[Row]) -> None:
    """Adds observations to the roll-up of their minute.

    Sums cannot tell a repeated event from a new one. So pass only rows that `insert_new` has just
    inserted, in the same transaction: an event that is sent twice is then counted once.
    """
    minutes: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        minute_ms = row["captured_ms"] - row["captured_ms"] % MINUTE_MS
        minutes.setdefault((row["camera"], minute_ms, row["run"]), []).append(row)
    if not minutes:
        return
    insert = _insert(connection, emotion_minutes)
    upsert = insert.on_conflict_do_update(
        index_elements=list(emotion_minutes.primary_key),
        set_={name: emotion_minutes.c[name] + insert.excluded[name] for name in COUNTS + SUMS},
    )
    _execute(connection, upsert, [_minute_row(*key, minutes[key]) for key in sorted(minutes)])


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


def upsert_track_totals(connection: Connection, rows: Iterable[Row]) -> None:
    """Adds observations to the roll-up of their track; as with minutes, pass only new rows."""
    seen: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        seen.setdefault((row["camera"], row["run"], row["track"]), []).append(row)
    if not seen:
        return
    insert = _insert(connection, track_totals)
    old, new = track_totals.c, insert.excluded
    is_listed = func.replace(old.modes, new.modes, "") != old.modes
    upsert = insert.on_conflict_do_update(
        index_elements=list(track_totals.primary_key),
        set_={
            **{name: old[name] + new[name] for name in COUNTS + TOTALS},
            "first_ms": case((new.first_ms < old.first_ms, new.first_ms), else_=old.first_ms),
            "last_ms": case((new.last_ms > old.last_ms, new.last_ms), else_=old.last_ms),
            "modes": case((is_listed, old.modes), else_=old.modes + new.modes),
        },
    )
    _execute(connection, upsert, [_total_row(*key, seen[key]) for key in sorted(seen)])


def _total_row(camera: str, run: str, track: int, rows: list[Row]) -> Row:
    shown = Counter(row["smoothed_label"] for row in rows)
    times = [row["captured_ms"] for row in rows]
    return {
        "camera": camera,
        "run": run,
        "track": track,
        "first_ms": min(times),
        "last_ms": max(times),
        **{name: shown[label] for name, label in zip(COUNTS, LABELS, strict=True)},
        **{
            total: math.fsum(row[name] for row in rows)
            for total, name in zip(TOTALS, TOTALLED, strict=True)
        },
        "modes": f"|{'|'.join(sorted({row['mode'] for row in rows}))}|",
    }


def upsert_tracks(connection: Connection, rows: Iterable[Row]) -> int:
    """Stores the newest update of each track; returns how many tracks are new or changed.

    Updates may arrive late, repeated or out of order. Which one is the newest is decided by the
    events alone (see `_update_order`), so the row does not depend on the order of arrival.
    """
    newest: dict[str, Row] = {}
    for row in sorted(rows, key=_update_order):
        newest[row["id"]] = row
    if not newest:
        return 0
    insert = _insert(connection, tracks)
    old, new = tracks.c, insert.excluded
    old_ended, new_ended = (case((c.phase == "end", 1), else_=0) for c in (old, new))
    upsert = insert.on_conflict_do_update(
        index_elements=[old.id],
        set_=dict(new.items()),
        # `_update_order` in SQL.
        where=tuple_(new_ended, new.seq, new.observations)
        > tuple_(old_ended, old.seq, old.observations),
    )
    return len(_execute(connection, upsert.returning(old.id), _sort_rows(newest)).all())


def _update_order(track: Row) -> tuple[Any, ...]:
    """Sort key of updates. An end is the newest, whatever its number. Of two ends the longer one:
    a file that was stopped ends its tracks early, and again when it is read to its end."""
    return track["phase"] == "end", track["seq"], track["observations"]


def upsert_gaps(connection: Connection, rows: Iterable[Row]) -> int:
    """Stores each gap with its largest count of events; returns how many are new or have grown.

    A gap that is still growing is reported again and again under one id.
    """
    largest = {row["id"]: row for row in sorted(rows, key=lambda row: row["events"])}
    if not largest:
        return 0
    insert = _insert(connection, gaps)
    upsert = insert.on_conflict_do_update(
        index_elements=[gaps.c.id],
        set_=dict(insert.excluded.items()),
        where=insert.excluded.events > gaps.c.events,
    )
    return len(_execute(connection, upsert.returning(gaps.c.id), _sort_rows(largest)).all())


def add_deleted(connection: Connection, rows: Iterable[Row]) -> None:
    """Adds to the numbers of observations that were deleted, by run."""
    keyed = {(row["camera"], row["run"]): row for row in rows}
    if not keyed:
        return
    insert = _insert(connection, deleted_observations)
    table = deleted_observations.c
    upsert = insert.on_conflict_do_update(
        index_elements=[table.camera, table.run],
        set_={"number": table.number + insert.excluded.number},
    )
    _execute(connection, upsert, [keyed[key] for key in sorted(keyed)])
