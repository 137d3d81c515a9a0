"""What waits in a folder of outboxes, for people: nothing is changed."""

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
class OutboxStatus:
    """One run's file: events that wait, events that were shed, whether a process writes it, and the
    fault of the file, if any."""

    file: str
    camera: str
    run: str
    waiting: int
    lost: int
    live: bool
    fault: str = ""


def inspect_outboxes(folder: str | Path) -> list[OutboxStatus]:
    """Every outbox of the folder by name; raises InputError where it cannot be read."""
    try:
        paths = sorted(Path(folder).iterdir())
        return [_inspect(path, name) for path in paths if (name := outbox_file.name_of(path))]
    except OSError as error:
        remedy = f"give the folder of outbox.folder ({error.strerror})"
        raise InputError("no folder of outboxes", str(folder), remedy) from error


def _inspect(path: Path, name: outbox_file.Name) -> OutboxStatus:
    lock = FileLock.acquire(outbox_file.lock_of(path))
    if lock:
        lock.close()
    live = lock is None
    try:
        with closing(OutboxReader(path)) as reader:
            left = None if live else outbox_file.read_loss(path)
            lost = reader.lost() + (left.events if left else 0)
            return OutboxStatus(path.name, *name, reader.count(), lost, live)
    except sqlite3.Error as error:
        fault = str(outbox_file.to_service_error(error, path))
        return OutboxStatus(path.name, *name, 0, 0, live, fault)
