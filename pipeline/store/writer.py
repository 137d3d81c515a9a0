"""The one way in: events become rows, each exactly once however often it is sent.

A batch is one transaction, in this order: cameras, runs, observations, their minutes, tracks,
statuses. Rows go in sorted by key, so that two writers wait for each other and never deadlock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Table, and_, case, func, or_
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.clock import Clock, wall_clock
from pipeline.records import CameraStatus, Event, FaceObserved, TrackUpdated
from pipeline.store.engine import writing
from pipeline.store.faults import explained
from pipeline.store.rows import Row, observation_row, status_row, track_row
from pipeline.store.schema import (
    PROBABILITIES,
    SUMS,
    camera_status,
    cameras,
    emotion_minutes,
    observations,
    runs,
    tracks,
)

MINUTE_MS = 60_000
Upsert = postgresql.Insert | sqlite.Insert


@dataclass(frozen=True)
class Written:
    """Rows that were new: observations and statuses inserted, tracks inserted or advanced."""

    observations: int = 0
    tracks: int = 0
    camera_status: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(
            self.observations + other.observations,
            self.tracks + other.tracks,
            self.camera_status + other.camera_status,
        )


class StoreWriter:
    """Writes events to the engine of `open_store`, at most `batch_rows` in one transaction."""

    def __init__(self, engine: Engine, clock: Clock = wall_clock, batch_rows: int = 500) -> None:
        self._engine = writing(engine)
        self._clock = clock
        self._batch_rows = batch_rows

    def write(self, events: Sequence[Event]) -> Written:
        """Returns when all are committed; what was stored before is left as it is.

        Raises ServiceError when the database cannot take a batch: nothing of that batch is stored,
        and sending everything again is safe.
        """
        written = Written()
        for first in range(0, len(events), self._batch_rows):
            written += self._write_batch(events[first : first + self._batch_rows])
        return written

    def _write_batch(self, events: Sequence[Event]) -> Written:
        now = self._clock()
        faces = {e.id: observation_row(e, now) for e in events if isinstance(e, FaceObserved)}
        ways = [track_row(e, now) for e in events if isinstance(e, TrackUpdated)]
        states = {e.id: status_row(e, now) for e in events if isinstance(e, CameraStatus)}
        with explained(self._engine.url), self._engine.begin() as connection:
            _write_origins(connection, events, now)
            new = _insert_new(connection, observations, faces)
            _grow_minutes(connection, [faces[key] for key in new])
            return Written(
                len(new),
                _advance_tracks(connection, ways),
                len(_insert_new(connection, camera_status, states)),
            )


def _insert(connection: Connection, table: Table) -> Upsert:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _insert_new(connection: Connection, table: Table, rows: Mapping[str, Row]) -> Sequence[str]:
    """Inserts the rows whose id is not there yet; returns the ids of these."""
    if not rows:
        return []
    insert = _insert(connection, table).on_conflict_do_nothing().returning(table.c.id)
    return connection.scalars(insert, [rows[key] for key in sorted(rows)]).all()


def _write_origins(connection: Connection, events: Sequence[Event], now: int) -> None:
    names = sorted({event.camera for event in events})
    insert = _insert(connection, cameras).on_conflict_do_nothing()
    connection.execute(insert, [{"camera": name, "stored_ms": now} for name in names])
    connection.execute(_widen_runs(_insert(connection, runs)), _run_rows(events, now))


def _run_rows(events: Sequence[Event], now: int) -> list[Row]:
    looks: dict[tuple[str, str], list[FaceObserved]] = {(e.camera, e.run): [] for e in events}
    for event in events:
        if isinstance(event, FaceObserved):
            looks[event.camera, event.run].append(event)
    return [
        {
            "camera": camera,
            "run": run,
            "clock": seen[0].clock if seen else None,
            "first_ms": min((look.captured_ms for look in seen), default=None),
            "last_ms": max((look.captured_ms for look in seen), default=None),
            "stored_ms": now,
        }
        for (camera, run), seen in sorted(looks.items())
    ]


def _widen_runs(insert: Upsert) -> Upsert:
    old, new = runs.c, insert.excluded
    earlier = or_(old.first_ms.is_(None), new.first_ms < old.first_ms)
    later = or_(old.last_ms.is_(None), new.last_ms > old.last_ms)
    return insert.on_conflict_do_update(
        index_elements=[old.camera, old.run],
        set_={
            "clock": func.coalesce(old.clock, new.clock),
            "first_ms": case((earlier, new.first_ms), else_=old.first_ms),
            "last_ms": case((later, new.last_ms), else_=old.last_ms),
        },
        where=or_(earlier, later),
    )


def _grow_minutes(connection: Connection, rows: Iterable[Row]) -> None:
    """Adds looks to their minute, once each: give only those that were really inserted."""
    minutes: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        minute_ms = row["captured_ms"] - row["captured_ms"] % MINUTE_MS
        minutes.setdefault((row["camera"], minute_ms, row["smoothed_label"]), []).append(row)
    if not minutes:
        return
    insert = _insert(connection, emotion_minutes)
    counted = ("observations", *SUMS)
    grown = insert.on_conflict_do_update(
        index_elements=list(emotion_minutes.primary_key),
        set_={name: emotion_minutes.c[name] + insert.excluded[name] for name in counted},
    )
    connection.execute(grown, [_minute_row(*key, minutes[key]) for key in sorted(minutes)])


def _minute_row(camera: str, minute_ms: int, label: str, rows: list[Row]) -> Row:
    sums = {
        total: math.fsum(row[name] for row in rows)
        for total, name in zip(SUMS, PROBABILITIES, strict=True)
    }
    where = {"camera": camera, "minute_ms": minute_ms, "label": label}
    return {**where, "observations": len(rows), **sums}


def _advance_tracks(connection: Connection, rows: Iterable[Row]) -> int:
    """Stores the newest word on each track; returns how many tracks are new or changed."""
    newest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (row["phase"] == "end", row["seq"])):
        newest[row["id"]] = row
    if not newest:
        return 0
    insert = _insert(connection, tracks)
    old, new = tracks.c, insert.excluded
    old_ended, new_ended = (case((c.phase == "end", 1), else_=0) for c in (old, new))
    advance = insert.on_conflict_do_update(
        index_elements=[old.id],
        set_={column.name: new[column.name] for column in old if column is not old.id},
        # An end is the last word, whatever arrives after it: rows depend on the set of events only.
        where=or_(new_ended > old_ended, and_(new_ended == old_ended, new.seq > old.seq)),
    )
    changed = connection.scalars(advance.returning(old.id), [newest[key] for key in sorted(newest)])
    return len(changed.all())
