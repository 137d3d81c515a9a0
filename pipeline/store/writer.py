"""The one way in: events become rows, each exactly once however often it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, select

from pipeline.clock import Clock, wall_clock
from pipeline.records import CameraStatus, DeadLetter, Event, EventsLost, FaceObserved, TrackUpdated
from pipeline.store.engine import storing
from pipeline.store.rows import letter_row, loss_row, observation_row, status_row, track_row
from pipeline.store.schema import camera_status, dead_letters, observations
from pipeline.store.upserts import (
    advance_tracks,
    grow_gaps,
    grow_minutes,
    insert_new,
    write_origins,
)


@dataclass(frozen=True)
class Written:
    """Rows that were new: observations and statuses inserted, tracks and gaps inserted or grown."""

    observations: int = 0
    tracks: int = 0
    camera_status: int = 0
    gaps: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(
            self.observations + other.observations,
            self.tracks + other.tracks,
            self.camera_status + other.camera_status,
            self.gaps + other.gaps,
        )


class StoreWriter:
    """Writes to the engine of `open_store`, at most `batch_rows` events in one transaction.

    Every method returns when all is committed, and raises ServiceError when the database cannot
    take it: then nothing of that transaction is stored, and sending everything again is safe.
    """

    def __init__(self, engine: Engine, clock: Clock = wall_clock, batch_rows: int = 500) -> None:
        self._engine = engine
        self._clock = clock
        self._batch_rows = batch_rows

    def write(self, events: Sequence[Event]) -> Written:
        """Stores what is not stored yet, one transaction per batch, in the order given."""
        written = Written()
        for first in range(0, len(events), self._batch_rows):
            written += self._write_batch(events[first : first + self._batch_rows])
        return written

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Stores dead letters, each origin once."""
        if not letters:
            return
        now = self._clock()
        rows = [letter_row(letter, now) for letter in letters]
        with storing(self._engine) as connection:
            insert_new(connection, dead_letters, {row["origin"]: row for row in rows})

    def read_dead_letters(self, reason: str, after: str, most: int) -> list[DeadLetter]:
        """At most so many whose reason contains `reason`, in order of origin, behind `after`."""
        row = dead_letters.c
        query = select(row.origin, row.reason, row.payload).order_by(row.origin).limit(most)
        matching = query.where(row.origin > after, row.reason.contains(reason, autoescape=True))
        with storing(self._engine) as connection:
            return [DeadLetter(*found) for found in connection.execute(matching)]

    def delete_dead_letters(self, origins: Sequence[str]) -> None:
        """Deletes those of these origins."""
        with storing(self._engine) as connection:
            connection.execute(delete(dead_letters).where(dead_letters.c.origin.in_(origins)))

    def _write_batch(self, events: Sequence[Event]) -> Written:
        with storing(self._engine) as connection:
            # After the wait for the lock: what the database keeps us waiting is part of the way.
            return self._write_all(connection, events, self._clock())

    def _write_all(self, connection: Connection, events: Sequence[Event], now: int) -> Written:
        looks = {e.id: observation_row(e, now) for e in events if isinstance(e, FaceObserved)}
        tracks = [track_row(e, now) for e in events if isinstance(e, TrackUpdated)]
        states = {e.id: status_row(e, now) for e in events if isinstance(e, CameraStatus)}
        losses = [loss_row(e, now) for e in events if isinstance(e, EventsLost)]
        write_origins(connection, events, now)
        new = insert_new(connection, observations, looks)
        grow_minutes(connection, [looks[key] for key in new])
        advanced = advance_tracks(connection, tracks)
        told = insert_new(connection, camera_status, states)
        grown = grow_gaps(connection, losses)
        return Written(len(new), advanced, len(told), grown)
