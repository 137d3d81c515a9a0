"""A lock that the kernel frees with its holder's process: where it is free, no process is at work.

It is held on a file of its own: closing any handle of a SQLite file would drop SQLite's locks. The
file may hold a note: who holds the lock, or what its last holder could not write elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from pipeline.closing import Closing
from pipeline.permissions import FILE

NOTE_BYTES = 4096
"""The longest note."""


class FileLock(Closing):
    """A lock on a file, held until `close`; the kernel frees it when the process is killed."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle

    @classmethod
    def acquire(cls, path: Path, patience_s: float = 0.0) -> FileLock | None:
        """The lock, or None where another holds it longer than `patience_s`; raises OSError."""
        deadline = time.monotonic() + patience_s
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, FILE)
            if _try_lock(handle, path):
                with suppress(PermissionError):  # another user's, or no modes here
                    os.fchmod(handle, FILE)
                return cls(path, handle)
            os.close(handle)
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.01)

    def reserve(self) -> None:
        """Reserve space for a note, so that a full disk does not refuse it; raises OSError."""
        os.posix_fallocate(self._handle, 0, NOTE_BYTES)

    def write(self, note: str) -> None:
        """Write a note, in place of the last one; it stays until the file is removed.

        Raises OSError, and ValueError for a note longer than NOTE_BYTES.
        """
        data = note.encode()
        if len(data) > NOTE_BYTES:
            raise ValueError(f"a note of {len(data)} bytes: at most {NOTE_BYTES} fit")
        os.pwrite(self._handle, data.ljust(NOTE_BYTES, b"\0"), 0)

    def close(self, remove: bool = False) -> None:
        """Release the lock; with `remove`, delete its file, which nobody needs again."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._handle)


def read_note(path: Path) -> str:
    """The note in a lock's file, whoever holds it; "" where there is none, or no file."""
    try:
        with path.open("rb") as file:
            return file.read(NOTE_BYTES).rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""


def _try_lock(handle: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # The last holder may have removed the file after we opened it: then others lock a new one.
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
