"""The state folder of a command: locked while it runs, and closed to other users."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from pipeline.bus import outbox_file
from pipeline.bus.locks import FileLock, read_note
from pipeline.cli.output import warn
from pipeline.config import Settings, resolve
from pipeline.control_client import (
    CONTROL_FILE,
    RUN_LOCK,
    ControlAddress,
    ControlClient,
    ControlFile,
    find_control,
)
from pipeline.errors import ConfigError, ServiceError, UndercamError
from pipeline.holder import Holder
from pipeline.permissions import Exposed, find_exposed, make_folder
from pipeline.service_settings import OutboxSettings

LOCK = RUN_LOCK
STATE = Path(OutboxSettings().folder).parent
"""The folder of all default paths."""
SAMPLE = STATE / "sample.mp4"
"""The clip of `undercam demo`."""
PATIENCE_S = 2.0
"""Seconds to wait for the lock: a command that is just ending may still hold it."""
OUR_FOLDERS = (STATE, Path(OutboxSettings().folder))
"""The folders that we name ourselves; any other belongs to whoever configured it."""
SHARED = 0o022
"""Permissions with which other users could replace a file."""


@contextmanager
def state_folder(settings: Settings) -> Iterator[None]:
    """Lock the folder of the outboxes for this command, and make all our files private.

    Raises ServiceError that names the command which holds the lock, or why the folder is unusable.
    """
    folder = Path(settings.outbox.folder)
    try:
        make_folder(folder)
        lock = FileLock.acquire(folder / LOCK, PATIENCE_S)
    except OSError as error:
        reason = f"make it writable, or set outbox.folder ({error.strerror})"
        raise ServiceError("state folder cannot be used", str(folder), reason) from error
    if lock is None:
        remedy = f"end it, or give this one another outbox.folder: {holder_of(folder)}"
        raise ServiceError("another command works in this state folder", str(folder), remedy)
    with lock:
        with suppress(OSError):  # a full disk: it may be about to be emptied
            lock.write(json.dumps(asdict(Holder.here())))
        tighten(settings)
        yield


class ControlNotice:
    """Tells the commands of this state folder where the control interface is, while one is there.

    Without it they write into the database, so that a fault is a warning.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = ControlFile(settings.outbox.folder)
        self._last_fault = ""
        # What a killed command left behind.
        self.remove()

    def update(self, address: ControlAddress) -> None:
        """Bring it up to date."""
        if not address.is_reachable:
            remedy = f"it listens on the loopback of {address.machine}: set control.host"
            self.remove()
            self._warn("commands here cannot reach the control interface", address.url, remedy)
            return
        try:
            self._file.update(address)
        except OSError as error:
            self._warn_of(error)

    def remove(self) -> None:
        """Remove it."""
        try:
            self._file.remove()
        except OSError as error:
            self._warn_of(error)

    def _warn_of(self, error: OSError) -> None:
        what, where = "the control interface is not announced to commands", str(error.filename)
        self._warn(what, where, f"make its folder writable ({error.strerror})")

    def _warn(self, what: str, where: str, remedy: str) -> None:
        if what != self._last_fault:
            warn(what, where, remedy)
        self._last_fault = what


def tighten(settings: Settings) -> None:
    """Close our files to other users, with a message; warn of files that are not ours."""
    for one in list_exposed(settings):
        if is_ours(one) and one.tighten():
            was = f"its mode was {one.mode:o} and is {one.wanted:o} now"
            warn("was open to other users", str(one.path), was)
        else:
            warn("open to other users", str(one.path), remedy_for(one))


def holder_of(folder: Path) -> str:
    """The command that last locked a state folder, in words."""
    try:
        return str(json.loads(read_note(folder / LOCK))["who"])
    except (ValueError, TypeError, LookupError):
        return "its lock file names no command"


def list_exposed(settings: Settings) -> list[Exposed]:
    """All our files and folders that other users can access."""
    folders, files = _list_kept(settings)
    open_folders = find_exposed(folders)
    mine = [one for one in open_folders if is_ours(one) or one.path == _outboxes(settings)]
    others = find_exposed([one.path for one in open_folders if one not in mine], SHARED)
    return [*mine, *others, *find_exposed(files)]


def is_ours(one: Exposed) -> bool:
    """Whether we may change its mode: a file of this user, or a folder that we name ourselves."""
    return one.is_own and (not one.path.is_dir() or one.path in OUR_FOLDERS)


def remedy_for(one: Exposed) -> str:
    """What the user can do about it."""
    return (
        f"chmod {one.wanted:o} {one.path}, or name a folder of its own (its mode is {one.mode:o})"
    )


def database_file(settings: Settings) -> Path | None:
    """The file of a SQLite database; None for any other, and where its reference leads nowhere."""
    from pipeline.store.inspection import sqlite_path

    try:
        return sqlite_path(resolve(settings.store.url))
    except ConfigError:
        return None


def _outboxes(settings: Settings) -> Path:
    return Path(settings.outbox.folder)


def _list_kept(settings: Settings) -> tuple[list[Path], list[Path]]:
    outboxes, database = _outboxes(settings), database_file(settings)
    folders, files = [outboxes], [SAMPLE]
    if outboxes.parent in OUR_FOLDERS:
        folders.append(outboxes.parent)
    if outboxes.is_dir():
        files += sorted(path for path in outboxes.iterdir() if _is_of_an_outbox(path))
    if database:
        folders.append(database.parent)
        files += [Path(f"{database}{ending}") for ending in ("", "-wal", "-shm")]
    return list(dict.fromkeys(folders)), files


def _is_of_an_outbox(path: Path) -> bool:
    """Whether a file is an outbox, a file of SQLite beside it, its lock, or one set aside."""
    names = [path.name.removesuffix(end) for end in ("", "-wal", "-shm", "-journal")]
    names += [name.rpartition(".")[0].rpartition(".")[0] for name in names if ".damaged" in name]
    lock = path.with_suffix(outbox_file.SUFFIX) if path.suffix == ".lock" else path
    is_run = any(outbox_file.name_of(path.with_name(name)) for name in names if name)
    return path.is_file() and (is_run or outbox_file.name_of(lock) is not None or _is_lock(path))


def _is_lock(path: Path) -> bool:
    return path.name in (LOCK, ".relay.lock", CONTROL_FILE)


def close_to_others(paths: Iterable[Path]) -> None:
    """Make files that we have just written private to their owner."""
    for one in find_exposed(paths):
        one.tighten()


def connect_control(settings: Settings) -> ControlClient | None:
    """The client of the control interface; raises ServiceError where `control.url` names one that
    cannot be reached. One that `undercam run` has announced here may be ending."""
    client = find_control(settings)
    if client and not settings.control.url:
        try:
            client.health()
        except UndercamError as error:
            warn(error.what, error.where, "written into the database instead")
            return None
    return client
