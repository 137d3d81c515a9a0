"""What lies in a folder of outboxes, looked at from outside while others write and drain it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.bus import outbox_file
from pipeline.bus.locks import FileLock
from pipeline.bus.outbox_reader import OutboxReader
from pipeline.errors import InputError


@dataclass(frozen=True)
class Waiting:
    """One run's file: events that wait, events that had to be shed, whether a writer lives, and
    what is wrong with the file, if anything is."""

    file: str
    camera: str
    run: str
    waiting: int
    lost: int
    live: bool
    fault: str = ""


def survey(folder: str | Path) -> list[Waiting]:
    """Every outbox of the folder by name; raises InputError where it cannot be read."""
    try:
        paths = sorted(Path(folder).iterdir())
        return [_look(path, name) for path in paths if (name := outbox_file.name_of(path))]
    except OSError as error:
        remedy = f"give the folder of outbox.folder ({error.strerror})"
        raise InputError("no folder of outboxes", str(folder), remedy) from error


def _look(path: Path, name: outbox_file.Name) -> Waiting:
    lock = FileLock.take(outbox_file.lock_of(path))
    if lock:
        lock.close()
    live = lock is None
    try:
        with closing(OutboxReader(path)) as drain:
            left = None if live else outbox_file.read_loss(path)
            lost = drain.lost() + (left.events if left else 0)
            return Waiting(path.name, *name, drain.count(), lost, live)
    except sqlite3.Error as error:
        return Waiting(path.name, *name, 0, 0, live, str(outbox_file.explained(error, path)))
