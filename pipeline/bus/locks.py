"""A lock that dies with its holder: whoever finds it free knows that nobody lives there.

It is held on a file of its own: closing any handle of a SQLite file would drop SQLite's locks.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from pipeline.closing import Closing


class FileLock(Closing):
    """A lock on a file, held until `close`; the kernel frees it when the process is killed."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle

    @classmethod
    def take(cls, path: Path, patience_s: float = 0.0) -> FileLock | None:
        """The lock, or None where another holds it longer than `patience_s`; raises OSError."""
        deadline = time.monotonic() + patience_s
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            if _locked(handle, path):
                return cls(path, handle)
            os.close(handle)
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.01)

    def close(self, remove: bool = False) -> None:
        """Give the lock back, and the file with it where nobody will need it again."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._handle)


def _locked(handle: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Its last holder may have removed the file while we opened it: then it locks nobody out.
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
