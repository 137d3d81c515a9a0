"""Opens the database and brings its tables up to date.

SQLite runs in WAL mode with its default `synchronous=FULL`: a committed row survives a power cut,
so the outbox may delete its copy. We issue BEGIN ourselves, because Python's driver begins no
transaction before DDL or SELECT. A writing transaction takes the write lock at its BEGIN: one that
starts as a reader and writes later fails with "busy" at once instead of waiting for its turn.

PostgreSQL needs none of that: readers and writers do not block each other. Only migrations take an
advisory lock there, and every transaction has a `lock_timeout`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import URL

from pipeline.errors import ServiceError, UndercamError
from pipeline.store.service_errors import describe_location, translate_errors
from pipeline.store.sqlite_file import DatabaseFile
from pipeline.store.url import parse_url, postgres_options, sqlite_options

_FIRST_START = "run `undercam store` or `undercam run` once: it creates the database"
_MIGRATION_LOCK = 0x756E646572  # any constant that others do not use: "under" in ASCII
_FILE, _IDENTITY = "database_file", "database_file_identity"
"""Keys: an engine's DatabaseFile among its execution options, a connection's file in its info."""
_alembic = Lock()  # Alembic keeps the running migration in a module global


def open_store(url: str, busy_timeout_s: float = 5.0, read_only: bool = False) -> Engine:
    """An engine on `sqlite:///FILE` or `postgresql://...`, its schema up to date.

    A missing SQLite file and its folder are created. `busy_timeout_s` bounds the wait for a lock,
    and for PostgreSQL to answer. With `read_only` nothing is created, migrated or written.
    Raises ConfigError for a URL that cannot be used; ServiceError where the database cannot be
    reached, is locked or damaged, or has a schema that does not fit.
    """
    engine = _create_engine(url, busy_timeout_s, read_only)
    try:
        with translate_errors(engine.url):
            (_require_head if read_only else _migrate)(engine)
    except UndercamError:
        engine.dispose()
        raise
    return engine


def read_schema_revision(
    url: str, busy_timeout_s: float = 5.0
) -> tuple[str | None, str | None, str]:
    """Schema revision of a database (None: no tables), newest known revision, and its location.

    The location is without user and password. Nothing is written. Raises what `open_store` raises
    with `read_only`, except for a schema that is older.
    """
    scripts, engine = _scripts(), _create_engine(url, busy_timeout_s, read_only=True)
    try:
        with translate_errors(engine.url), engine.connect() as connection:
            return (
                _revision(connection, scripts),
                scripts.get_current_head(),
                describe_location(engine.url),
            )
    finally:
        engine.dispose()


@contextmanager
def use_store(url: str, busy_timeout_s: float = 5.0) -> Iterator[Engine]:
    """The engine of `open_store`, disposed of at the end of the block."""
    engine = open_store(url, busy_timeout_s)
    try:
        yield engine
    finally:
        engine.dispose()


def for_writing(engine: Engine) -> Engine:
    """The same pool; its transactions take SQLite's write lock when they begin."""
    return engine.execution_options(writes=True)


@contextmanager
def begin_read(engine: Engine) -> Iterator[Connection]:
    """A connection for queries; raises ServiceError when the database cannot answer."""
    with translate_errors(engine.url), engine.connect() as connection:
        yield connection


@contextmanager
def begin_write(engine: Engine) -> Iterator[Connection]:
    """A transaction that is committed when the block ends.

    Raises ServiceError where the database cannot take the rows, and where its SQLite file was
    removed or replaced meanwhile: then nothing counts as stored, and the caller sends it again.
    """
    reopen_if_replaced(engine)
    file = _database_file(engine)
    with translate_errors(engine.url), for_writing(engine).begin() as connection:
        opened = connection.info.get(_IDENTITY)
        yield connection
    # After the commit, not before: SQLite commits without an error into a file that was unlinked
    # while the transaction ran, and those rows are gone with the last file descriptor.
    if file and file.identity() != opened:
        engine.dispose()
        remedy = "put it back, or leave it: what was not stored will be sent again"
        raise ServiceError("database file was removed or replaced", str(file.path), remedy)


def reopen_if_replaced(engine: Engine) -> bool:
    """Whether the SQLite file is another one than at the last call: replaced, or created anew.

    Its schema is then up to date. False for PostgreSQL. Raises ServiceError while the file is
    missing, and what `open_store` raises for the new one.
    """
    file = _database_file(engine)
    if file is None:
        return False
    file.recreate_if_gone()
    with translate_errors(engine.url), engine.connect() as connection:
        is_same = connection.info.get(_IDENTITY) == file.identity()
    if is_same:
        return False
    engine.dispose()
    with translate_errors(engine.url):
        _migrate(engine)
    return True


def _database_file(engine: Engine) -> DatabaseFile | None:
    file: DatabaseFile | None = engine.get_execution_options().get(_FILE)
    return file


def _create_engine(url: str, busy_timeout_s: float, read_only: bool) -> Engine:
    target = parse_url(url)
    is_file = target.get_backend_name() == "sqlite"
    return (_create_sqlite if is_file else _create_postgres)(target, busy_timeout_s, read_only)


def _create_sqlite(url: URL, busy_timeout_s: float, read_only: bool) -> Engine:
    options = sqlite_options(url, busy_timeout_s)
    file = DatabaseFile(url.database or "")
    if read_only and not file.path.is_file():
        raise ServiceError("no such database", str(url.database), _FIRST_START)
    if not read_only:
        file.create()
    engine = create_engine(
        url.set(query={}),
        connect_args=options,
        hide_parameters=True,
        execution_options={_FILE: file},
    )

    @event.listens_for(engine, "do_connect")
    def set_address(_: Any, __: Any, arguments: list[Any], options: dict[str, Any]) -> None:
        # By its plain path SQLite would create a missing file: readable by all, without tables.
        if not options.get("uri"):
            arguments[0], options["uri"] = file.address, True

    @event.listens_for(engine, "connect")
    def prepare_connection(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None
        if read_only:
            connection.execute("PRAGMA query_only=ON")
        else:
            _use_wal(connection, options["timeout"])
            # The first read opens the log, so that its inode belongs to the identity below.
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        record.info[_IDENTITY] = file.identity()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _use_wal(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    # When two connections switch a new file to WAL, SQLite may answer one of them "busy" at once,
    # whatever its timeout (2 of 480 tries).
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _create_postgres(url: URL, busy_timeout_s: float, read_only: bool) -> Engine:
    engine = create_engine(
        url.difference_update_query(["prepare_threshold"]),
        connect_args=postgres_options(url, busy_timeout_s),
        pool_pre_ping=True,
        hide_parameters=True,
        execution_options={"postgresql_readonly": True} if read_only else {},
    )

    @event.listens_for(engine, "begin")
    def set_lock_timeout(connection: Connection) -> None:
        # SET LOCAL: behind a pooler, a session's own settings would reach other clients.
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(busy_timeout_s * 1000)}")

    return engine


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).with_name("migrations")))


def _revision(connection: Connection, scripts: ScriptDirectory) -> str | None:
    """Schema revision of the database; raises ServiceError for one that is not in our list."""
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision not in {None, *(script.revision for script in scripts.walk_revisions())}:
        raise ServiceError(
            f"schema {revision} is newer than this version of Undercam",
            describe_location(connection.engine.url),
            "upgrade undercam, or give another database",
        )
    return revision


def _require_head(engine: Engine) -> None:
    scripts = _scripts()
    with engine.connect() as connection:
        revision = _revision(connection, scripts)
    if revision is None:
        raise ServiceError(
            "database has no tables yet", describe_location(engine.url), _FIRST_START
        )
    if revision != scripts.get_current_head():
        raise ServiceError(
            f"schema {revision} is older than this version of Undercam",
            describe_location(engine.url),
            "run `undercam store` or `undercam run` once: it migrates the database",
        )


def _migrate(engine: Engine) -> None:
    scripts = _scripts()
    with engine.connect() as connection:
        if _revision(connection, scripts) == scripts.get_current_head():
            return
    # The revision is read again under the lock: another process may have migrated meanwhile.
    with _alembic, for_writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        _upgrade(connection, scripts, _revision(connection, scripts))


def _upgrade(connection: Connection, scripts: ScriptDirectory, revision: str | None) -> None:
    context = MigrationContext.configure(connection)
    with Operations.context(context):
        for script in reversed(list(scripts.iterate_revisions("head", revision or "base"))):
            script.module.upgrade()
    context.stamp(scripts, "head")
