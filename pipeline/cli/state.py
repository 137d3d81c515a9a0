"""The state folder of a command: its alone while it runs, and closed to other users."""

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
from pipeline.errors import ConfigError, ServiceError
from pipeline.holder import Holder
from pipeline.permissions import Exposed, find_exposed, make_folder
from pipeline.service_settings import OutboxSettings

LOCK = ".run.lock"
STATE = Path(OutboxSettings().folder).parent
"""What the defaults lie in."""
SAMPLE = STATE / "sample.mp4"
"""The clip of `undercam demo`."""
PATIENCE_S = 2.0
"""One that ends just now may still hold its folder."""
OUR_FOLDERS = (STATE, Path(OutboxSettings().folder))
"""These names are ours; any other folder belongs to whoever named it."""
SHARED = 0o022
"""Rights by which others could replace a file."""


@contextmanager
def state_folder(settings: Settings) -> Iterator[None]:
    """The folder of the outboxes, for one command at a time, with all that we keep made private.

    Raises ServiceError that says who holds the folder, or why it cannot be used.
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


def tighten(settings: Settings) -> None:
    """Close what is ours to other users, and say so; warn of what is not."""
    for one in exposed(settings):
        if is_ours(one) and one.tighten():
            was = f"its mode was {one.mode:o} and is {one.wanted:o} now"
            warn("was open to other users", str(one.path), was)
        else:
            warn("open to other users", str(one.path), remedy_for(one))


def holder_of(folder: Path) -> str:
    """Who took the lock of a state folder last, in words."""
    try:
        return str(json.loads(read_note(folder / LOCK))["who"])
    except (ValueError, TypeError, LookupError):
        return "it does not say who it is"


def exposed(settings: Settings) -> list[Exposed]:
    """Everything that we keep and that others may use."""
    folders, files = _kept(settings)
    open_folders = find_exposed(folders)
    mine = [one for one in open_folders if is_ours(one) or one.path == _outboxes(settings)]
    others = find_exposed([one.path for one in open_folders if one not in mine], SHARED)
    return [*mine, *others, *find_exposed(files)]


def is_ours(one: Exposed) -> bool:
    """Whether we may change its mode: a folder of our own name, or a file, of this user."""
    return one.is_own and (not one.path.is_dir() or one.path in OUR_FOLDERS)


def remedy_for(one: Exposed) -> str:
    """What a person does about it."""
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


def _kept(settings: Settings) -> tuple[list[Path], list[Path]]:
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
    """An outbox, what SQLite keeps beside it, its lock, one that was set aside."""
    names = [path.name.removesuffix(end) for end in ("", "-wal", "-shm", "-journal")]
    names += [name.rpartition(".")[0].rpartition(".")[0] for name in names if ".damaged" in name]
    lock = path.with_suffix(outbox_file.SUFFIX) if path.suffix == ".lock" else path
    is_run = any(outbox_file.name_of(path.with_name(name)) for name in names if name)
    return path.is_file() and (is_run or outbox_file.name_of(lock) is not None or _is_lock(path))


def _is_lock(path: Path) -> bool:
    return path.name in (LOCK, ".relay.lock")


def close_to_others(paths: Iterable[Path]) -> None:
    """Files that we have just written, for their owner alone."""
    for one in find_exposed(paths):
        one.tighten()
