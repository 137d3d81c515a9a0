"""A camera's events on disk until bus or store has them: the writing side."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pipeline.bus import outbox_file
from pipeline.bus.locks import FileLock
from pipeline.closing import Closing
from pipeline.errors import ServiceError
from pipeline.permissions import make_folder
from pipeline.records import CameraStatus, Event, EventsLost, FaceObserved

PATIENCE_S = 1.0
"""How long to wait for a lock: others hold one for an instant only, or as long as they live."""
PART_ROWS = 500
"""Most events in one transaction."""
SAME_LOSS_MS = 60_000
"""Events lost within this time of others belong to the same gap."""


class _Row(NamedTuple):
    """An event on its way to the file: when it was captured, its line of JSON, id and schema."""

    at_ms: int
    body: str
    id: str
    schema: str

    @classmethod
    def of(cls, event: Event) -> _Row:
        return cls(_captured_ms(event), event.to_json(), event.id, event.schema_)


class EventsNotWritten(ServiceError):
    """Events that waited in memory when their outbox was closed, and are lost."""


class Outbox(Closing):
    """The events of one camera run, appended by the one process that reads the camera.

    `max_rows` bounds what waits. Past it a live camera (`sheds`) loses the oldest, counted, but
    never those under way; one that reads a file asks `has_room` before it goes on. Where the file
    cannot be written, events wait in memory, under the same bound and in the same order, `fault`
    says why, and the next append, of nothing if need be, tries again. The number of events that a
    live camera has in memory is noted beside the file, in space reserved for it: where the file can
    never be written, or the process is killed, the relay reports the noted events as a gap.

    Opening the same run again goes on behind what is there. Raises ServiceError where the folder
    cannot be used, or where another process writes this run.
    """

    def __init__(
        self,
        folder: str | Path,
        camera: str,
        run: str,
        max_rows: int = 500_000,
        sheds: bool = True,
    ) -> None:
        self.path = outbox_file.file_of(Path(folder), camera, run)
        self.fault = ""
        self._most_rows = max_rows
        self._sheds = sheds
        self._memory: deque[_Row] = deque()
        self._is_open = True
        self._lock = _acquire_lock(self.path)
        self._lost = outbox_file.read_loss(self.path)
        self._is_noted = self._lost is not None
        self._unwritten: outbox_file.Loss | None = None
        try:
            self._file: sqlite3.Connection | None = self._open()
        except sqlite3.Error as error:
            self._lock.close()
            raise outbox_file.to_service_error(error, self.path) from error

    def append(self, events: Sequence[Event]) -> None:
        """Put events behind those that wait; unless there is a `fault`, they are on disk when it
        returns. Raises ValueError once it is closed."""
        if not self._is_open:
            raise ValueError(f"outbox is closed: {self.path}")
        new = [_Row.of(event) for event in events]
        self._memory.extend(new)
        try:
            self._write()
            self.fault = ""
        except sqlite3.Error as error:
            self._handle_error(error)
        if self._sheds:
            self._shed_memory()
            self._note(new)

    @property
    def has_room(self) -> bool:
        """Whether a camera that loses nothing may go on."""
        return not self._memory and self.waiting < self._most_rows

    @property
    def waiting(self) -> int:
        """Events that wait, in file and memory, without those under way."""
        in_file = 0
        with suppress(sqlite3.Error):
            in_file = len(outbox_file.waiting_in(self._file)) if self._file else 0
        return in_file + len(self._memory)

    def close(self) -> None:
        """Release the run. Raises EventsNotWritten where events are left that cannot be written."""
        if not self._is_open:
            return
        try:
            self.append([])
        finally:
            self._is_open = False
            self._close_file()
            self._lock.close()
        if self._memory:
            left = f"{len(self._memory)} events could not be written and are lost"
            raise EventsNotWritten(left, str(self.path), self.fault)

    def _open(self) -> sqlite3.Connection:
        try:
            return outbox_file.open_file(self.path, PATIENCE_S)
        except sqlite3.DatabaseError as error:
            if not outbox_file.is_damaged(error):
                raise
        outbox_file.set_aside(self.path)
        return outbox_file.open_file(self.path, PATIENCE_S)

    def _write(self) -> None:
        self._file = self._file or self._open()
        while self._memory or self._lost:
            # After a fault many wait. A disk that was full takes them in parts, as space is freed.
            part = list(islice(self._memory, PART_ROWS))
            with outbox_file.transaction(self._file):
                outbox_file.add_headers(self._file)
                insert = "INSERT INTO events (at_ms, body, id, schema) VALUES (?, ?, ?, ?)"
                self._file.executemany(insert, part)
                if self._lost:
                    _count(self._file, self._lost)
                # In the same transaction as the rows that push others out: a crash leaves either
                # both or none, so an event is in the file or counted as lost, never both.
                if self._sheds:
                    self._shed_file(self._file)
            # Only now: what the transaction did not take stays first in line.
            self._lost = None
            for _ in part:
                self._memory.popleft()

    def _handle_error(self, error: sqlite3.Error) -> None:
        self.fault = str(outbox_file.to_service_error(error, self.path))
        if outbox_file.is_damaged(error):
            self._close_file()
            outbox_file.set_aside(self.path)

    def _close_file(self) -> None:
        if self._file:
            with suppress(sqlite3.Error):
                self._file.close()
        self._file = None

    def _shed_file(self, file: sqlite3.Connection) -> None:
        # Without those that a relay has been given: they may have arrived, and then a gap would be
        # a second account of them.
        surplus = outbox_file.waiting_in(file)[: -self._most_rows]
        if not surplus:
            return
        oldest = "FROM events WHERE n BETWEEN ? AND ?"
        ends = (surplus[0], surplus[-1])
        # An empty body was erased: nothing is lost with it.
        span = f"SELECT min(at_ms), max(at_ms), count(nullif(body, '')) {oldest}"
        loss = outbox_file.Loss(*file.execute(span, ends).fetchone())
        if loss.events:
            _count(file, loss)
        file.execute(f"DELETE {oldest}", ends)

    def _shed_memory(self) -> None:
        """What waits in memory is bounded on its own: the file cannot be counted now."""
        surplus = len(self._memory) - self._most_rows
        gone = [self._memory.popleft().at_ms for _ in range(surplus)]
        if gone:
            self._lost = outbox_file.Loss(min(gone), max(gone), len(gone)).merge(self._lost)

    def _note(self, new: Sequence[_Row]) -> None:
        """Keep count beside the file of what would be lost if this process ended now."""
        if self._memory:
            times = [one.at_ms for one in new or [self._memory[0]]]
            self._unwritten = outbox_file.Loss(min(times), max(times), 0).merge(self._unwritten)
            lost = self._unwritten._replace(events=len(self._memory)).merge(self._lost)
            self._is_noted = self._write_note(lost.to_note())
        elif self._is_noted:
            self._unwritten = None
            self._is_noted = not self._write_note("")

    def _write_note(self, note: str) -> bool:
        try:
            self._lock.write(note)
        except OSError:  # the disk itself is broken: `fault` says so
            return False
        return True


def _acquire_lock(path: Path) -> FileLock:
    try:
        make_folder(path.parent)
        lock = FileLock.acquire(outbox_file.lock_of(path), PATIENCE_S)
        if lock:
            lock.reserve()
    except OSError as error:
        raise ServiceError(
            "outbox cannot be made", str(path.parent), str(error.strerror)
        ) from error
    if lock is None:
        remedy = "one process may read a camera; end the other one"
        raise ServiceError("outbox is written by another process", str(path), remedy)
    return lock


def _count(file: sqlite3.Connection, loss: outbox_file.Loss) -> None:
    """Widen the last gap where it is near, or not delivered yet; else begin another."""
    # A gap that no relay has delivered grows whatever lies between: one row, however long the bus
    # is away. One that was delivered grows for a minute, under its id: the store takes the larger.
    last = file.execute("SELECT n, until_ms, told FROM lost ORDER BY n DESC LIMIT 1").fetchone()
    if last and (last[2] == 0 or loss.since_ms - last[1] < SAME_LOSS_MS):
        file.execute(
            "UPDATE lost SET since_ms = min(since_ms, ?), until_ms = max(until_ms, ?),"
            " events = events + ? WHERE n = ?",
            (*loss, last[0]),
        )
    else:
        # Numbered by time, not from 1: the file of a run may be removed and made again, and its
        # next gap must not have the id of an earlier one.
        number = max(loss.since_ms, last[0] + 1 if last else 1)
        insert = "INSERT INTO lost (n, since_ms, until_ms, events) VALUES (?, ?, ?, ?)"
        file.execute(insert, (number, *loss))


def _captured_ms(event: Event) -> int:
    match event:
        case FaceObserved():
            return event.captured_ms
        case CameraStatus() | EventsLost():
            return event.since_ms
        case _:
            return event.ended_ms
