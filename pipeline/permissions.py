"""Folders and files for the owner only: they record where faces were seen, and when."""

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
    """Create a folder and its missing parents, mode 0700 whatever the umask.

    An existing folder keeps its mode. Raises OSError.
    """
    missing, above = [], path.absolute()
    while not above.exists():
        missing.append(above)
        above = above.parent
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another process created it first
            folder.mkdir(FOLDER)
            _set_mode(folder, FOLDER)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def make_file(path: Path) -> None:
    """Create an empty file, mode 0600 whatever the umask; an existing file is left unchanged.

    Raises OSError.
    """
    try:
        # mknod, not open: closing any handle of a SQLite file drops this process's locks on it.
        os.mknod(path, stat.S_IFREG | FILE)
    except FileExistsError:
        return
    except PermissionError:  # this system denies mknod to users
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE))
    _set_mode(path, FILE)


@dataclass(frozen=True)
class Exposed:
    """A folder or file that not only its owner may access; `is_own`: it belongs to this user."""

    path: Path
    mode: int
    is_own: bool

    @property
    def wanted(self) -> int:
        """The mode that it should have."""
        return FOLDER if self.path.is_dir() else FILE

    def tighten(self) -> bool:
        """Remove the rights of everybody else; False where this user cannot."""
        if not self.is_own:
            return False
        try:
            self.path.chmod(self.wanted)
        except OSError:
            return False
        return True


def find_exposed(paths: Iterable[Path], rights: int = 0o077) -> list[Exposed]:
    """Those of the paths that exist and grant the group or others any of these rights."""
    found = []
    for path in paths:
        with suppress(OSError):
            status = path.lstat()
            mode = stat.S_IMODE(status.st_mode)
            if mode & rights and not stat.S_ISLNK(status.st_mode):
                found.append(Exposed(path, mode, status.st_uid == os.geteuid()))
    return found


def _set_mode(path: Path, mode: int) -> None:
    with suppress(PermissionError):  # a file system without modes
        path.chmod(mode)
