"""Folders and files that only their owner may read: where faces were, and when, lies in them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER, FILE = 0o700, 0o600


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, mode 0700 whatever the umask.

    One that exists keeps its mode. Raises OSError.
    """
    missing, above = [], path.absolute()
    while not above.exists():
        missing.append(above)
        above = above.parent
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another process was quicker
            folder.mkdir(FOLDER)
            _set_mode(folder, FOLDER)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def make_file(path: Path) -> None:
    """Make an empty file, mode 0600 whatever the umask; one that exists stays as it is.

    Raises OSError.
    """
    try:
        # It is never open in here: closing a handle of a SQLite file would drop SQLite's locks.
        os.mknod(path, stat.S_IFREG | FILE)
    except FileExistsError:
        return
    except PermissionError:  # no mknod for this user on this system
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE))
    _set_mode(path, FILE)


@dataclass(frozen=True)
class Exposed:
    """A folder or file that others than its owner may use; `is_own`: it belongs to this user."""

    path: Path
    mode: int
    is_own: bool

    @property
    def wanted(self) -> int:
        """The mode that it should have."""
        return FOLDER if self.path.is_dir() else FILE

    def tighten(self) -> bool:
        """Take everybody else's rights; False where that is not ours to do."""
        if not self.is_own:
            return False
        try:
            self.path.chmod(self.wanted)
        except OSError:
            return False
        return True


def find_exposed(paths: Iterable[Path], rights: int = 0o077) -> list[Exposed]:
    """Those of the paths that exist and grant group or others any of these rights."""
    found = []
    for path in paths:
        with suppress(OSError):
            status = path.lstat()
            mode = stat.S_IMODE(status.st_mode)
            if mode & rights and not stat.S_ISLNK(status.st_mode):
                found.append(Exposed(path, mode, status.st_uid == os.geteuid()))
    return found


def _set_mode(path: Path, mode: int) -> None:
    with suppress(PermissionError):  # a file system that knows no modes
        path.chmod(mode)
