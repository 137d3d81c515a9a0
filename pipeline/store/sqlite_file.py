"""The file of a SQLite database: readable by its owner alone, and checked after every commit.

A process that has a file open can go on writing after the file was removed or replaced, and nobody
will ever read those rows. So rows count as stored only while the path still names the file, and the
write-ahead log beside it, that the connection opened.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import ServiceError
from pipeline.permissions import make_file, make_folder

RECREATE_AFTER_S = 10.0
"""How long a removed file may come back before a new one is created in its place."""
Identity = tuple[tuple[int, int] | None, ...]
"""Device and inode of the file, its log and the log's index; None for a missing file."""


class DatabaseFile:
    """The file that an engine was opened on."""

    def __init__(self, path: str | Path, now: Callable[[], float] = time.monotonic) -> None:
        self.path = Path(path).absolute()
        self._now = now
        self._missing_since_s: float | None = None

    @property
    def address(self) -> str:
        """URI for `sqlite3.connect` that opens the file and never creates one."""
        return f"file:{quote(str(self.path))}?mode=rw"

    def create(self) -> None:
        """Create the file, empty, and its folder where missing; raises ServiceError."""
        folder = self.path.parent
        try:
            make_folder(folder)
        except OSError as error:
            reason = str(error.strerror)
            raise ServiceError("cannot create the folder", str(folder), reason) from error
        try:
            make_file(self.path)
        except OSError as error:
            remedy = f"check that its folder is writable and has room ({error.strerror})"
            raise ServiceError("cannot create the database", str(self.path), remedy) from error

    def identity(self) -> Identity:
        """Which files the path, its log and the log's index name now."""
        return tuple(_file_id(f"{self.path}{ending}") for ending in ("", "-wal", "-shm"))

    def recreate_if_gone(self) -> None:
        """Create the file again once it has been missing for RECREATE_AFTER_S.

        Until then a missing file raises ServiceError: a person who moves or restores a database
        takes a moment, and a new file in between would split the rows between the two.
        """
        if self.path.exists():
            self._missing_since_s = None
            return
        if self._missing_since_s is None:
            self._missing_since_s = self._now()
        left_s = self._missing_since_s + RECREATE_AFTER_S - self._now()
        if left_s > 0:
            remedy = f"put it back; a new one is created {RECREATE_AFTER_S:.0f} s after it went"
            raise ServiceError("database file was removed", str(self.path), remedy)
        self.create()
        self._missing_since_s = None


def _file_id(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
