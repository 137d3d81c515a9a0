"""The folder of a Ray that we start, and the processes that belong to it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "undercam-ray-"
MARK = "UNDERCAM_SESSION"
"""An environment variable that all processes of a session inherit; it names their folder."""
SOCKET_NAME = "/ray/session_2000-01-01_00-00-00_000000_1234567/sockets/plasma_store"
MOST_BYTES = 107
"""A Unix socket's path may be no longer."""
LOCK = "lock"
KILL_S, POLL_S, CLEAN_POLLS = 2.0, 0.03, 3


class Session:
    """A new folder that only this user may enter; Ray itself opens its own folders to everybody.

    What killed runs left behind is ended and removed first.
    """

    def __init__(self) -> None:
        base = base_folder()
        clear(base)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        # Locked before it has its name: a file of that name that nobody has locked is left behind.
        new = self.folder / f"{LOCK}.new"
        self._lock = new.open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        new.rename(self.folder / LOCK)
        os.environ[MARK] = str(self.folder)

    def kill(self) -> None:
        """End every process that was started in this session."""
        kill_processes_of(self.folder)

    def remove(self) -> None:
        """End what still runs in it, and remove the folder."""
        os.environ.pop(MARK, None)
        _remove(self.folder)
        self._lock.close()


def base_folder() -> Path:
    """The folder for temporary files, or /tmp where socket paths in it would be too long."""
    folder = Path(tempfile.gettempdir()).resolve()
    longest = len(os.fsencode(folder)) + len(f"/{PREFIX}12345678{SOCKET_NAME}")
    return folder if longest <= MOST_BYTES else Path("/tmp")


def clear(base: Path) -> None:
    """Remove sessions of this user that nobody has locked, and end what still runs in them."""
    for folder in base.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            with (folder / LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)


def kill_processes_of(folder: Path) -> None:
    """SIGKILL to all other processes of a session, however they are related: those that inherited
    its mark, and those that write into its folder, since a process that gives itself a title, as
    Ray's do, overwrites a part of its environment."""
    until_s = time.monotonic() + KILL_S
    clean = 0
    # One that is just being started shows no environment for a moment.
    while clean < CLEAN_POLLS and time.monotonic() < until_s:
        clean = 0 if _kill_all(folder) else clean + 1
        time.sleep(POLL_S)


def _kill_all(folder: Path) -> int:
    """Kill them once; returns how many there were."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        with suppress(OSError):
            # Opened before it is examined: its number may belong to another process by then.
            held = os.pidfd_open(int(process.name))
            try:
                if _belongs(process, folder):
                    signal.pidfd_send_signal(held, signal.SIGKILL)
                    killed += 1
            finally:
                os.close(held)
    return killed


def _belongs(process: Path, folder: Path) -> bool:
    """Whether a process is one of the session in a folder; raises OSError for those of others."""
    if os.fsencode(f"{MARK}={folder}") in (process / "environ").read_bytes().split(b"\0"):
        return True
    for file in (process / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            if os.readlink(file).startswith(f"{folder}/"):
                return True
    return False


def _remove(folder: Path) -> None:
    kill_processes_of(folder)
    # Once more: what is dying may have made a file meanwhile.
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
