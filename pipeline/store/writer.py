"""Writes events into the database: each becomes a row exactly once, however often it is sent.

The order of the statements in a transaction matters in two places only. What was erased is read
before anything is inserted, under the lock that an erasure waits for (`pipeline.store.erasures`).
And the roll-up takes the keys that the insert of observations returned, so it must follow it. The
transaction is committed before a caller commits its offsets or deletes from its outbox. A crash in
between sends the same events again, and their ids make them the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine, delete, select

from pipeline.clock import Clock, wall_clock
from pipeline.erasure import Erasure, ErasureFilter, Subject
from pipeline.records import CameraStatus, DeadLetter, Event, EventsLost, FaceObserved, TrackUpdated
from pipeline.store.engine import begin_write
from pipeline.store.erasures import delete_for_ever, read_filters
from pipeline.store.lost_runs import count_losses, settle_lost_runs
from pipeline.store.rows import dead_letter_row, gap_row, observation_row, status_row, track_row
from pipeline.store.schema import camera_status, dead_letters, observations
from pipeline.store.upserts import (
    insert_new,
    upsert_cameras_and_runs,
    upsert_gaps,
    upsert_minutes,
    upsert_track_totals,
    upsert_tracks,
)


@dataclass(frozen=True)
class WriteCounts:
    """Number of rows that changed: observations and statuses inserted, tracks and gaps upserted;
    and of events that were `erased`: not stored, because they were erased or are too old."""

    observations: int = 0
    tracks: int = 0
    camera_status: int = 0
    gaps: int = 0
    erased: int = 0

    def __add__(self, other: WriteCounts) -> WriteCounts:
        return WriteCounts(
            self.observations + other.observations,
            self.tracks + other.tracks,
            self.camera_status + other.camera_status,
            self.gaps + other.gaps,
            self.erased + other.erased,
        )


class StoreWriter:
    """Writes to the engine of `open_store`, at most `batch_rows` events in one transaction.

    Every method returns after the commit. It raises ServiceError when the database cannot take a
    batch: then nothing of that transaction is stored, and sending everything again is safe.
    `erased` counts the events and dead letters that were erased, or are too old, and so not stored.
    """

    def __init__(self, engine: Engine, clock: Clock = wall_clock, batch_rows: int = 500) -> None:
        self.erased = 0
        self._engine = engine
        self._clock = clock
        self._batch_rows = batch_rows

    def write(self, events: Sequence[Event]) -> WriteCounts:
        """Stores the events that are not stored yet, in order, one transaction per batch."""
        written = WriteCounts()
        for first in range(0, len(events), self._batch_rows):
            written += self._write_batch(events[first : first + self._batch_rows])
        return written

    def write_dead_letters(self, dead: Sequence[DeadLetter]) -> None:
        """Stores dead letters, one row per origin."""
        if not dead:
            return
        now = self._clock()
        rows = [dead_letter_row(dead_letter, now) for dead_letter in dead]
        with begin_write(self._engine) as connection:
            filters = read_filters(connection)
            kept = [
                row for row, one in zip(rows, dead, strict=True) if not _is_covered(one, filters)
            ]
            insert_new(connection, dead_letters, {row["origin"]: row for row in kept})
        self.erased += len(rows) - len(kept)

    def drop_erased(self, dead: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Those that were not erased, for a bus that is not to have the others again."""
        if not dead:
            return []
        with begin_write(self._engine) as connection:
            filters = read_filters(connection)
        kept = [one for one in dead if not _is_covered(one, filters)]
        self.erased += len(dead) - len(kept)
        return kept

    def read_dead_letters(self, reason: str, after: str, most: int) -> list[DeadLetter]:
        """At most so many whose reason contains `reason`, in order of origin, behind `after`."""
        row = dead_letters.c
        query = select(row.origin, row.reason, row.payload).order_by(row.origin).limit(most)
        matching = query.where(row.origin > after, row.reason.contains(reason, autoescape=True))
        with begin_write(self._engine) as connection:
            return [DeadLetter(*found) for found in connection.execute(matching)]

    def delete_dead_letters(self, origins: Sequence[str]) -> None:
        """Deletes those of these origins."""
        with begin_write(self._engine) as connection:
            connection.execute(delete(dead_letters).where(dead_letters.c.origin.in_(origins)))

    def _write_batch(self, events: Sequence[Event]) -> WriteCounts:
        subjects = [Subject.of(event) for event in events]
        while True:
            with begin_write(self._engine) as connection:
                erased, too_old = read_filters(connection)
                recordings = erased.find_recordings(subjects)
                if not recordings:
                    kept = [
                        event
                        for event, subject in zip(events, subjects, strict=True)
                        if not (erased.covers(subject) or too_old.covers(subject))
                    ]
                    settle_lost_runs(connection, _count_faces(events, kept))
                    # `stored_ms` is read after the wait for the lock, so latencies include that.
                    counts = self._upsert_all(connection, kept, self._clock())
                    break
            self._erase_recordings(recordings)
        self.erased += len(events) - len(kept)
        return replace(counts, erased=len(events) - len(kept))

    def _erase_recordings(self, recordings: set[tuple[str, str]]) -> None:
        """By their run, so that their tracks, which tell no time of day, are erased too. It takes
        the exclusive lock, so in a transaction of its own."""
        for camera, run in sorted(recordings):
            erasure = Erasure(camera, requested_ms=self._clock(), run=run)
            delete_for_ever(self._engine, erasure)

    def _upsert_all(self, connection: Connection, events: Sequence[Event], now: int) -> WriteCounts:
        if not events:
            return WriteCounts()
        faces = {e.id: observation_row(e, now) for e in events if isinstance(e, FaceObserved)}
        tracks = [track_row(e, now) for e in events if isinstance(e, TrackUpdated)]
        statuses = {e.id: status_row(e, now) for e in events if isinstance(e, CameraStatus)}
        losses = [gap_row(e, now) for e in events if isinstance(e, EventsLost)]
        upsert_cameras_and_runs(connection, events, now)
        inserted = insert_new(connection, observations, faces)
        new_faces = [faces[key] for key in inserted]
        upsert_minutes(connection, new_faces)
        upsert_track_totals(connection, new_faces)
        updated = upsert_tracks(connection, tracks)
        reported = insert_new(connection, camera_status, statuses)
        arrived = count_losses(connection, losses)
        grown = upsert_gaps(connection, losses)
        stored = [*new_faces, *(statuses[key] for key in reported)]
        arrived.update((row["camera"], row["run"]) for row in stored)
        settle_lost_runs(connection, arrived)
        return WriteCounts(len(inserted), updated, len(reported), grown)


def _count_faces(events: Sequence[Event], kept: Sequence[Event]) -> Counter[tuple[str, str]]:
    """The observations among the events that are not kept, by camera and run: they have arrived."""
    number = Counter((e.camera, e.run) for e in events if isinstance(e, FaceObserved))
    number.subtract((e.camera, e.run) for e in kept if isinstance(e, FaceObserved))
    return +number


def _is_covered(dead_letter: DeadLetter, filters: Sequence[ErasureFilter]) -> bool:
    subject = Subject.of_payload(dead_letter.payload)
    return any(one.covers(subject) for one in filters)
