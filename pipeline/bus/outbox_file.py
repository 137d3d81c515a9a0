"""The SQLite file of one camera run: its events in order, its losses, and what is under way.

One process appends to it and another drains it. WAL with `synchronous=NORMAL`: a transaction
outlives its process; a power cut may take the last ones, but never half of one.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.bus.locks import read_note
from pipeline.errors import ServiceError
from pipeline.permissions import make_file
from pipeline.records import CAMERA_PATTERN

SUFFIX = ".outbox"
_NAME = re.compile(rf"{CAMERA_PATTERN[:-1]}\.([0-9a-f]{{12}}|e[0-9]+){re.escape(SUFFIX)}$")
_TABLES = (
    # A number is never used again, and in a file none is missing between the first and the last:
    # so two look-ups count what waits, and a range of numbers is what was shed or delivered.
    # `id` and `schema` repeat what is in the body: a bus needs them, and need not read it. They are
    # empty in rows of the release before.
    # The body of an event that was erased is empty: its number stays until all before it are gone.
    "CREATE TABLE IF NOT EXISTS events (n INTEGER PRIMARY KEY AUTOINCREMENT,"
    " at_ms INTEGER NOT NULL, body TEXT NOT NULL, id TEXT, schema TEXT)",
    "CREATE TABLE IF NOT EXISTS lost (n INTEGER PRIMARY KEY, since_ms INTEGER NOT NULL,"
    " until_ms INTEGER NOT NULL, events INTEGER NOT NULL, told INTEGER NOT NULL DEFAULT 0)",
    # Up to this number events were handed out, and may have arrived: they cannot be called lost.
    "CREATE TABLE IF NOT EXISTS taken (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER)",
    "INSERT OR IGNORE INTO taken VALUES (1, 0)",
)
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REASONS = {
    sqlite3.SQLITE_FULL: ("disk is full", "free space; events wait in memory until then"),
    sqlite3.SQLITE_BUSY: ("outbox is locked", "end whatever else has it open"),
    sqlite3.SQLITE_READONLY: ("outbox is read-only", "make its folder writable"),
    sqlite3.SQLITE_CANTOPEN: ("outbox cannot be opened", "check that its folder exists, writable"),
    sqlite3.SQLITE_IOERR: ("outbox cannot be read or written", "check its disk, and its quota"),
    sqlite3.SQLITE_CORRUPT: ("outbox is damaged", "its file was set aside; check the disk"),
    sqlite3.SQLITE_NOTADB: ("outbox is damaged", "its file was set aside; check the disk"),
}


class Name(NamedTuple):
    """Whose events a file holds."""

    camera: str
    run: str


class Loss(NamedTuple):
    """Events of a run that are missing: captured from when to when, and how many."""

    since_ms: int
    until_ms: int
    events: int

    def merge(self, other: Loss | None) -> Loss:
        """Both losses as one."""
        if other is None:
            return self
        since_ms, until_ms = min(self.since_ms, other.since_ms), max(self.until_ms, other.until_ms)
        return Loss(since_ms, until_ms, self.events + other.events)

    def to_note(self) -> str:
        """The text of the note beside an outbox that cannot be written."""
        return json.dumps(self._asdict())


def read_loss(path: Path) -> Loss | None:
    """The events that the last writer of an outbox had in memory, unwritten, when it ended."""
    try:
        note = json.loads(read_note(lock_of(path)))
        return Loss(*(int(note[name]) for name in Loss._fields))
    except (ValueError, TypeError, LookupError):  # no note, or half of one
        return None


def find_outboxes(folder: Path) -> set[Path]:
    """The outboxes of a folder, with those of which a note alone is left; raises OSError."""
    found = {path for path in folder.iterdir() if name_of(path)}
    locks = {path.with_suffix(SUFFIX) for path in folder.glob("*.lock")}
    return found | {path for path in locks - found if name_of(path) and read_loss(path)}


def name_of(path: Path) -> Name | None:
    """The camera and run of an outbox's file; None for any other file."""
    found = _NAME.fullmatch(path.name)
    return Name(*path.name.removesuffix(SUFFIX).split(".")) if found else None


def file_of(folder: Path, camera: str, run: str) -> Path:
    """Where the events of a camera's run wait; raises ValueError for what is no camera or run."""
    name = f"{camera}.{run}{SUFFIX}"
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a camera and a run: {camera!r}, {run!r}")
    return folder / name


def lock_of(path: Path) -> Path:
    """The file that the writer of an outbox holds locked."""
    return path.with_suffix(".lock")


def open_file(path: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection to the file, made where it is missing, for one thread at a time.

    Every call of it may raise sqlite3.Error.
    """
    with suppress(OSError):  # SQLite meets the same error, and raises it as its own
        make_file(path)
    connection = sqlite3.connect(
        path, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )
    try:
        connection.text_factory = bytes
        _use_wal(connection, timeout_s)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA journal_size_limit=16777216")
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'taken'").fetchone():
            with transaction(connection):
                for statement in _TABLES:
                    connection.execute(statement)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def has_headers(connection: sqlite3.Connection) -> bool:
    """Whether the rows have columns for id and schema: not in a file of the release before."""
    query = "SELECT count(*) FROM pragma_table_info('events') WHERE name IN ('id', 'schema')"
    (columns,) = connection.execute(query).fetchone()
    return bool(columns == 2)


def add_headers(connection: sqlite3.Connection) -> None:
    """Give a file of the release before the columns that it lacks; its rows stay as they are.

    For the writer alone, within a transaction: a reader takes a file as it is, also on a full disk.
    """
    if not has_headers(connection):
        for column in ("id", "schema"):
            connection.execute(f"ALTER TABLE events ADD COLUMN {column} TEXT")


def _use_wal(connection: sqlite3.Connection, timeout_s: float) -> None:
    # Where two open a new file at once, one is refused as busy at once, whatever the timeout.
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing; the lock is taken at once, so nothing fails halfway for want of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def waiting_in(connection: sqlite3.Connection) -> range:
    """The numbers of the events not handed out yet; two look-ups, however many there are."""
    first, last = connection.execute(
        "SELECT (SELECT min(n) FROM events WHERE n > (SELECT n FROM taken)),"
        " (SELECT max(n) FROM events)"
    ).fetchone()
    return range(0) if first is None else range(first, last + 1)


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether the file itself is at fault, and will be for ever."""
    return _code(error) in _DAMAGED


def to_service_error(error: sqlite3.Error, path: Path) -> ServiceError:
    """The error as one sentence with a remedy."""
    what, remedy = _REASONS.get(_code(error), ("outbox cannot be used", str(error)))
    return ServiceError(what, str(path), remedy)


def set_aside(path: Path) -> Path:
    """Rename a damaged file with what belongs to it, so that nothing reads it again."""
    names = (path.with_name(f"{path.name}.{n}.damaged") for n in range(1, 1_000_000))
    target = next(name for name in names if not name.exists())
    for ending in ("-shm", "-wal", ""):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(target.with_name(target.name + ending))
    return target


def _code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
