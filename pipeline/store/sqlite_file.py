"""The file of a SQLite database: made for its owner alone, and still the one of that name.

Whoever has a file open goes on writing after it was removed or replaced, into what nobody will ever
read. So after every commit the file is looked at, and with it the log beside it: rows are stored
when they are in the file of that name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import ServiceError
from pipeline.permissions import make_file, make_folder

GONE_S = 10.0
"""A file that was removed is waited for so long before another one is made in its place."""
Identity = tuple[tuple[int, int] | None, ...]
"""Device and inode of the file, its log and the log's index; None for what is not there."""


class DatabaseFile:
    """The file that an engine was opened on."""

    def __init__(self, path: str | Path, now: Callable[[], float] = time.monotonic) -> None:
        self.path = Path(path).absolute()
        self._now = now
        self._missed_s: float | None = None

    @property
    def address(self) -> str:
        """For SQLite: opens the file, and never makes one."""
        return f"file:{quote(str(self.path))}?mode=rw"

    def make(self) -> None:
        """Make it, empty, and its folder, where they are missing; raises ServiceError."""
        folder = self.path.parent
        try:
            make_folder(folder)
        except OSError as error:
            reason = str(error.strerror)
            raise ServiceError("cannot create the folder", str(folder), reason) from error
        try:
            make_file(self.path)
        except OSError as error:
            remedy = f"check that its folder is ours and has room ({error.strerror})"
            raise ServiceError("cannot create the database", str(self.path), remedy) from error

    def identity(self) -> Identity:
        """Which file has the name now, and which its log and the index of that."""
        return tuple(_number(f"{self.path}{ending}") for ending in ("", "-wal", "-shm"))

    def await_return(self) -> None:
        """Of a file that was removed: raise ServiceError while it may yet come back; then make it
        anew. Nothing happens while it is there."""
        if self.path.exists():
            self._missed_s = None
            return
        if self._missed_s is None:
            self._missed_s = self._now()
        left_s = self._missed_s + GONE_S - self._now()
        if left_s > 0:
            remedy = f"put it back; {GONE_S:.0f} s after it went a new one is made"
            raise ServiceError("database file was removed", str(self.path), remedy)
        self.make()
        self._missed_s = None


def _number(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
