"""Erasures: rows that are deleted for ever, and the list of them that keeps them from coming back.

Whoever inserts reads the list under a shared lock, whoever erases writes it under an exclusive one:
so an insert is either seen by the deletion, or sees the erasure. SQLite has one writer at a time.
PostgreSQL locks the table `erasures`; LOCK TABLE comes before the first query of the transaction,
so that whatever its isolation level, it sees all that was committed before.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine, select

from pipeline.clock import Clock, wall_clock
from pipeline.erasure import Erasure, ErasureFilter, parse_track
from pipeline.errors import ServiceError
from pipeline.store.deletion import (
    ErasureCounts,
    delete_before,
    delete_dead_letters,
    delete_run,
    delete_track,
    find_recordings,
)
from pipeline.store.engine import begin_read, begin_write
from pipeline.store.schema import cameras, erasures, retention
from pipeline.store.service_errors import translate_errors
from pipeline.store.upserts import insert_new

__all__ = ["Erasure", "ErasureCounts", "erase", "read_erasures"]
CHECKPOINT_S = 5.0
"""How long to wait for readers of SQLite's log before it can be truncated."""
_COLUMNS = (erasures.c[name] for name in ("camera", "track", "before_ms", "requested_ms", "run"))
_ALL = select(*_COLUMNS).order_by(erasures.c.requested_ms, erasures.c.id)


def erase(engine: Engine, erasure: Erasure, clock: Clock = wall_clock) -> ErasureCounts:
    """Delete rows for ever: records that belong to them are not stored again, whatever is resent.

    Without `before_ms`, a camera's erasure covers what was captured before the request, which
    without `requested_ms` is now. One transaction; then the database's files are cleared of what
    was deleted, as far as possible: `remains` says what keeps that from being done. Raises
    ServiceError, and ValueError for an erasure of nothing or of no track.
    """
    counts = delete_for_ever(engine, _complete(erasure, clock()))
    return replace(counts, remains=clear_free_space(engine))


def delete_for_ever(engine: Engine, erasure: Erasure) -> ErasureCounts:
    """The transaction of `erase`, for an erasure that says its times."""
    with begin_write(engine) as connection:
        lock_for_erasing(connection)
        found, counts = [erasure], ErasureCounts()
        if erasure.track is not None:
            counts = delete_track(connection, *_track_of(erasure.track))
        elif erasure.run is not None:
            counts = delete_run(connection, erasure.camera or "", erasure.run)
        else:
            for camera in [erasure.camera] if erasure.camera else list_cameras(connection):
                before_ms = erasure.before_ms or 0
                counts += delete_before(connection, camera, before_ms)
                for run in find_recordings(connection, camera, before_ms):
                    found.append(replace(erasure, camera=camera, before_ms=None, run=run))
                    counts += delete_run(connection, camera, run)
        insert_erasures(connection, found)
        dead = delete_dead_letters(connection, ErasureFilter(found))
    return counts + ErasureCounts(dead_letters=dead)


def read_erasures(engine: Engine) -> list[Erasure]:
    """All erasures, the earliest request first; raises ServiceError."""
    with begin_read(engine) as connection:
        return [Erasure(*row) for row in connection.execute(_ALL)]


def insert_erasures(connection: Connection, found: Iterable[Erasure]) -> None:
    """Add to the list what is not in it."""
    rows = {_key_of(one): {"id": _key_of(one), **vars(one)} for one in found}
    insert_new(connection, erasures, rows)


def read_filters(connection: Connection) -> tuple[ErasureFilter, ErasureFilter]:
    """What must not be stored: what was erased, and what is older than its camera's rows may be.

    Holds the shared lock until the transaction ends; call it before any other statement.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE erasures IN ROW SHARE MODE")
    erased = ErasureFilter(Erasure(*row) for row in connection.execute(_ALL))
    limits = connection.execute(select(retention.c.camera, retention.c.kept_from_ms)).all()
    return erased, ErasureFilter(Erasure(camera, before_ms=ms) for camera, ms in limits)


def lock_for_erasing(connection: Connection) -> None:
    """The exclusive lock, until the transaction ends; in SQLite, what is deleted is overwritten."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE erasures IN EXCLUSIVE MODE")
    else:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def list_cameras(connection: Connection) -> Sequence[str]:
    """Every camera that has rows."""
    return connection.execute(select(cameras.c.camera).order_by(cameras.c.camera)).scalars().all()


def read_cameras(engine: Engine) -> list[str]:
    """Every camera that the database knows, also of erased rows; raises ServiceError."""
    with begin_read(engine) as connection:
        return list(list_cameras(connection))


def clear_free_space(engine: Engine) -> str:
    """Rewrite the database without what was deleted; returns what keeps that from being done.

    Earlier versions of a row that was updated lie in free space too, so overwriting what is deleted
    is not enough.
    """
    try:
        with translate_errors(engine.url):
            if engine.dialect.name == "sqlite":
                return _clear_sqlite(engine)
            # One statement, outside of a transaction.
            options = {"isolation_level": "AUTOCOMMIT"}
            with engine.connect().execution_options(**options) as connection:
                connection.exec_driver_sql(
                    "VACUUM observations, tracks, emotion_minutes, track_totals, runs, dead_letters"
                )
    except ServiceError as error:
        return str(error)
    return ""


def _clear_sqlite(engine: Engine) -> str:
    pooled = engine.raw_connection()
    try:
        connection = pooled.driver_connection
        assert isinstance(connection, sqlite3.Connection)
        connection.execute("VACUUM")
        until_s = time.monotonic() + CHECKPOINT_S
        while True:
            is_busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not is_busy:
                return ""
            if time.monotonic() >= until_s:
                return "a reader keeps the database's log: end it, and erase again"
            time.sleep(0.05)
    finally:
        pooled.close()


def _complete(erasure: Erasure, now_ms: int) -> Erasure:
    erasure = replace(erasure, requested_ms=erasure.requested_ms or now_ms)
    if erasure.track is not None:
        return replace(erasure, track="trk:{}:{}:{}".format(*_track_of(erasure.track)))
    if erasure.camera is None and erasure.before_ms is None:
        raise ValueError("an erasure names a track, a camera or a time")
    if erasure.before_ms is None and erasure.run is None:
        return replace(erasure, before_ms=erasure.requested_ms)
    return erasure


def _track_of(track: str) -> tuple[str, str, int]:
    found = parse_track(track)
    if found is None:
        raise ValueError(f"not a track: {track!r}")
    return found


def _key_of(erasure: Erasure) -> str:
    """The same for the same rows, whenever that was requested."""
    parts = (erasure.track, erasure.camera, erasure.run, erasure.before_ms)
    return "/".join("*" if part is None else str(part) for part in parts)
