"""Delivers what waits in a folder of outboxes to bus or store, and deletes only what has arrived.

Records pass through as their writer encoded them: a relay reads none of them, whatever its release,
unless something was erased. Then it looks in each for what tells whose it is.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.backoff import BackOff
from pipeline.bus import outbox_file
from pipeline.bus.locks import FileLock
from pipeline.bus.outbox_erasure import remove_damaged
from pipeline.bus.outbox_reader import OutboxReader, gap_of
from pipeline.closing import Closing
from pipeline.erasure import Erasure, ErasureFilter
from pipeline.errors import ServiceError
from pipeline.messages import Message
from pipeline.permissions import make_folder
from pipeline.records import DeadLetter, EventsLost

Deliver = Callable[[Sequence[Message]], int | None]
"""Returns when all of it is safe with the receiver, with the number of records, if known, that it
made dead letters of; raises ServiceError when it is not safe."""
LEAST_S, MOST_S = 0.5, 15.0
"""Seconds between two tries while the receiver is away."""
IDLE_S = 0.1


class DrainedElsewhere(ServiceError):
    """Another relay drains the folder."""


class Relay(Closing):
    """The one relay of a folder; raises DrainedElsewhere where another drains it.

    Each step delivers up to `batch_rows` records, the files in turn, each from its oldest on:
    1. the batch is marked, so that its writer sheds none of it; 2. it is delivered; 3. it is
    deleted. A crash in between delivers the batch again, never loses or reorders it. What `deliver`
    refuses with a ServiceError stays in its file: `fault` says why, and steps do nothing until it
    is time to try again. A file without a writer is removed when it is empty; a damaged one is set
    aside, named in `damaged`. What was erased is never delivered: `erased` counts such records.
    """

    def __init__(
        self,
        folder: str | Path,
        deliver: Deliver,
        batch_rows: int = 500,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.fault: ServiceError | None = None
        self.damaged: list[Path] = []
        self.sent = self.batches = self.dead = self.lost = 0
        self._folder = Path(folder)
        self._deliver = deliver
        self._batch_rows = batch_rows
        self._sleep = sleep
        self._backoff = BackOff(LEAST_S, MOST_S, clock, chance)
        self._readers: dict[Path, OutboxReader] = {}
        self._noted: set[Path] = set()
        self._last = Path()
        self._gaps: dict[str, int] = {}
        self._erased = 0
        self._filter = ErasureFilter()
        self.erasures: tuple[Erasure, ...] = ()
        self._lock = _acquire_lock(self._folder)

    def step(self) -> int:
        """Deliver one batch; returns the number of its records, 0 when nothing waits or it is too
        early to try again."""
        if self._backoff.waits:
            return 0
        self.fault = None
        parts = self._fetch()
        batch = [message for _, part in parts for message in part]
        if not batch:
            return 0
        try:
            dead = self._deliver(batch) or 0
        except ServiceError as fault:
            self.fault = fault
            self._backoff.record_failure()
            return 0
        self._backoff.record_success()
        # Deleted only now: before the delivery, a crash would lose the batch. So it may arrive
        # twice, and ids make that one row.
        for path, _ in parts:
            with self._isolate_errors(path):
                self._acknowledge(path)
        self._count(batch, dead)
        return len(batch)

    def run(self, stop: Callable[[], bool]) -> None:
        """Step until `stop` is true; the batch that is under way is finished first."""
        while not stop():
            if not self.step():
                self._sleep(IDLE_S)

    def apply_erasures(self, erasures: Sequence[Erasure]) -> None:
        """Delete what was erased from all files, and deliver nothing of it from now on.

        `erasures` are all there are. Where a file cannot be changed, `fault` says why and the
        attribute `erasures` stays as it was: call it again later.
        """
        known = set(self.erasures)
        new = ErasureFilter(one for one in erasures if one not in known)
        self._filter = ErasureFilter(erasures)
        self.fault = None
        for path in self._in_turn():
            if not (path.exists() and new.concerns(path.name.partition(".")[0])):
                continue
            with self._isolate_errors(path):
                self._reader(path).erase(self._filter)
                self._remove_if_left(path)
        remove_damaged(self._folder, self._filter)
        if self.fault is None:
            self.erasures = tuple(erasures)

    @property
    def erased(self) -> int:
        """Records that were deleted because of an erasure."""
        return self._erased + sum(reader.erased for reader in self._readers.values())

    @property
    def waiting(self) -> int:
        """Events in the folder that have not arrived yet."""
        total = 0
        for path in self._in_turn():
            with self._isolate_errors(path):
                total += self._reader(path).count() if path.exists() else 0
            if outbox_file.read_loss(path):
                with _unwritten(path) as lock:
                    total += lock is not None
        return total

    def close(self) -> None:
        """Release the folder."""
        for path in list(self._readers):
            self._close_reader(path)
        self._lock.close()

    def _fetch(self) -> list[tuple[Path, list[Message]]]:
        parts: list[tuple[Path, list[Message]]] = []
        room = self._batch_rows
        for path in self._in_turn():
            with self._isolate_errors(path):
                part = self._noted_gap(path)
                if not part and path.exists():
                    part = self._reader(path).fetch(room, self._filter)
                if part:
                    parts.append((path, part))
                    room -= len(part)
                elif path.exists():
                    self._remove_if_left(path)
            self._last = path
            if room <= 0:
                break
        return parts

    def _in_turn(self) -> list[Path]:
        """The outboxes of the folder, the one behind the last served first."""
        found = sorted(outbox_file.find_outboxes(self._folder))
        for gone in [path for path in self._readers if not path.exists()]:
            self._close_reader(gone)
        return [p for p in found if p > self._last] + [p for p in found if p <= self._last]

    def _reader(self, path: Path) -> OutboxReader:
        if path in self._readers and not self._readers[path].is_current():
            self._close_reader(path)
        if path not in self._readers:
            self._readers[path] = OutboxReader(path)
        return self._readers[path]

    def _close_reader(self, path: Path) -> None:
        reader = self._readers.pop(path, None)
        if reader:
            self._erased += reader.erased
            with suppress(sqlite3.Error):
                reader.close()

    @contextmanager
    def _isolate_errors(self, path: Path) -> Iterator[None]:
        """An error of one file becomes the `fault`, and does not stop the others."""
        try:
            yield
        except sqlite3.Error as error:
            self.fault = outbox_file.to_service_error(error, path)
            if outbox_file.is_damaged(error):
                self._close_reader(path)
                self._set_aside(path)

    def _noted_gap(self, path: Path) -> list[Message]:
        """The gap of the events that a writer noted, but could not write before it ended."""
        if outbox_file.read_loss(path) is None:
            return []
        with _unwritten(path) as lock:
            left = outbox_file.read_loss(path) if lock else None
        if left is None:
            return []
        self._noted.add(path)
        return [gap_of(path, (left.since_ms, *left), "outbox could not be written")]

    def _acknowledge(self, path: Path) -> None:
        if path not in self._noted:
            self._readers[path].acknowledge()
            return
        self._noted.discard(path)
        with _unwritten(path) as lock, suppress(OSError):
            if lock:
                lock.write("")

    def _remove_if_left(self, path: Path) -> None:
        with _unwritten(path) as lock:
            if lock and not self._readers[path].count():
                self._close_reader(path)
                path.unlink()

    def _set_aside(self, path: Path) -> None:
        # A live writer finds the damage itself, and makes a new file.
        with _unwritten(path) as lock:
            if lock:
                self.damaged.append(outbox_file.set_aside(path))

    def _count(self, batch: Sequence[Message], dead: int) -> None:
        self.batches += 1
        dead += sum(isinstance(message, DeadLetter) for message in batch)
        self.dead += dead
        self.sent += len(batch) - dead
        for gap in batch:
            # A gap that grows is delivered again, under its id, with all of its events.
            if isinstance(gap, EventsLost):
                self.lost += gap.events - self._gaps.get(gap.id, 0)
                self._gaps[gap.id] = gap.events


@contextmanager
def _unwritten(path: Path) -> Iterator[FileLock | None]:
    """Locks writers out of an outbox; None where one writes it."""
    lock = FileLock.acquire(outbox_file.lock_of(path))
    try:
        yield lock
    finally:
        if lock:
            lock.close(remove=not path.exists() and outbox_file.read_loss(path) is None)


def _acquire_lock(folder: Path) -> FileLock:
    try:
        make_folder(folder)
        lock = FileLock.acquire(folder / ".relay.lock")
    except OSError as error:
        raise ServiceError("outbox cannot be read", str(folder), str(error.strerror)) from error
    if lock is None:
        remedy = "`undercam run` drains it already; or end the other one"
        raise DrainedElsewhere("another relay drains this outbox", str(folder), remedy)
    return lock
