"""Brings what waits in a folder of outboxes to bus or store, and forgets only what has arrived."""

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
from pipeline.bus.outbox_reader import OutboxReader, gap_of
from pipeline.closing import Closing
from pipeline.errors import ServiceError
from pipeline.permissions import make_folder
from pipeline.records import DeadLetter, EventsLost, Mail

Deliver = Callable[[Sequence[Mail]], object]
"""Returns when all of it is safe with the receiver; raises ServiceError when it is not."""
LEAST_S, MOST_S = 0.5, 15.0
"""Seconds between two tries while the receiver is away."""
IDLE_S = 0.1


class DrainedElsewhere(ServiceError):
    """Another relay is at work in the folder."""


class Relay(Closing):
    """The one relay of a folder; raises DrainedElsewhere where another is at work there.

    Each step delivers up to `batch_rows` records, the files in turn, each from its oldest on. What
    `deliver` refuses with a ServiceError stays where it is: `fault` says why, and steps do nothing
    until it is time to try again. A crash may deliver a batch twice, never lose or reorder it. A
    file without a writer goes when it is empty; a damaged one is set aside, named in `damaged`.
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
        self._drains: dict[Path, OutboxReader] = {}
        self._noted: set[Path] = set()
        self._last = Path()
        self._gaps: dict[str, int] = {}
        self._lock = _locked(self._folder)

    def step(self) -> int:
        """Deliver one batch; returns the number of its records, 0 when nothing waits or it is too
        early to try again."""
        if self._backoff.waits:
            return 0
        self.fault = None
        taken = self._take()
        batch = [mail for _, part in taken for mail in part]
        if not batch:
            return 0
        try:
            self._deliver(batch)
        except ServiceError as fault:
            self.fault = fault
            self._backoff.failed()
            return 0
        self._backoff.succeeded()
        for path, _ in taken:
            with self._bearing(path):
                self._forget(path)
        self._count(batch)
        return len(batch)

    def run(self, stop: Callable[[], bool]) -> None:
        """Step until told to stop; what is under way is finished first."""
        while not stop():
            if not self.step():
                self._sleep(IDLE_S)

    @property
    def waiting(self) -> int:
        """Events in the folder that have not arrived yet."""
        total = 0
        for path in self._in_turn():
            with self._bearing(path):
                total += self._drain(path).count() if path.exists() else 0
            if outbox_file.read_loss(path):
                with _unwritten(path) as lock:
                    total += lock is not None
        return total

    def close(self) -> None:
        """Let go of the folder."""
        for path in list(self._drains):
            self._drop(path)
        self._lock.close()

    def _take(self) -> list[tuple[Path, list[Mail]]]:
        taken: list[tuple[Path, list[Mail]]] = []
        room = self._batch_rows
        for path in self._in_turn():
            with self._bearing(path):
                part = self._left_behind(path)
                if not part and path.exists():
                    part = self._drain(path).take(room)
                if part:
                    taken.append((path, part))
                    room -= len(part)
                elif path.exists():
                    self._remove_if_left(path)
            self._last = path
            if room <= 0:
                break
        return taken

    def _in_turn(self) -> list[Path]:
        """The outboxes of the folder, the one behind the last served first."""
        found = sorted(outbox_file.find(self._folder))
        for gone in [path for path in self._drains if not path.exists()]:
            self._drop(gone)
        return [p for p in found if p > self._last] + [p for p in found if p <= self._last]

    def _drain(self, path: Path) -> OutboxReader:
        if path in self._drains and not self._drains[path].is_current():
            self._drop(path)
        if path not in self._drains:
            self._drains[path] = OutboxReader(path)
        return self._drains[path]

    def _drop(self, path: Path) -> None:
        drain = self._drains.pop(path, None)
        if drain:
            with suppress(sqlite3.Error):
                drain.close()

    @contextmanager
    def _bearing(self, path: Path) -> Iterator[None]:
        """What is wrong with one file is said and does not stop the others."""
        try:
            yield
        except sqlite3.Error as error:
            self.fault = outbox_file.explained(error, path)
            if outbox_file.is_damaged(error):
                self._drop(path)
                self._set_aside(path)

    def _left_behind(self, path: Path) -> list[Mail]:
        """The gap that a writer noted, where it could not write, before it ended."""
        if outbox_file.read_loss(path) is None:
            return []
        with _unwritten(path) as lock:
            left = outbox_file.read_loss(path) if lock else None
        if left is None:
            return []
        self._noted.add(path)
        return [gap_of(path, (left.since_ms, *left), "outbox could not be written")]

    def _forget(self, path: Path) -> None:
        if path not in self._noted:
            self._drains[path].forget()
            return
        self._noted.discard(path)
        with _unwritten(path) as lock, suppress(OSError):
            if lock:
                lock.write("")

    def _remove_if_left(self, path: Path) -> None:
        with _unwritten(path) as lock:
            if lock and not self._drains[path].count():
                self._drop(path)
                path.unlink()

    def _set_aside(self, path: Path) -> None:
        # A writer that lives will find the damage itself, and begin anew.
        with _unwritten(path) as lock:
            if lock:
                self.damaged.append(outbox_file.set_aside(path))

    def _count(self, batch: Sequence[Mail]) -> None:
        self.batches += 1
        self.dead += sum(isinstance(mail, DeadLetter) for mail in batch)
        self.sent += sum(not isinstance(mail, DeadLetter) for mail in batch)
        for mail in batch:
            if isinstance(mail, EventsLost):
                self.lost += mail.events - self._gaps.get(mail.id, 0)
                self._gaps[mail.id] = mail.events


@contextmanager
def _unwritten(path: Path) -> Iterator[FileLock | None]:
    """Keeps writers away from an outbox; None where one is there."""
    lock = FileLock.take(outbox_file.lock_of(path))
    try:
        yield lock
    finally:
        if lock:
            lock.close(remove=not path.exists() and outbox_file.read_loss(path) is None)


def _locked(folder: Path) -> FileLock:
    try:
        make_folder(folder)
        lock = FileLock.take(folder / ".relay.lock")
    except OSError as error:
        raise ServiceError("outbox cannot be read", str(folder), str(error.strerror)) from error
    if lock is None:
        remedy = "`undercam run` drains it already; or end the other one"
        raise DrainedElsewhere("another relay drains this outbox", str(folder), remedy)
    return lock
