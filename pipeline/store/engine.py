"""Opens the database and brings its tables up to date.

SQLite runs in WAL mode with its default `synchronous=FULL`: a committed row outlives a power cut,
and the outbox may forget it. Transactions are begun by us, because the driver begins none before
DDL or SELECT. A writer's begin takes the lock at once, so it waits for its turn instead of failing
halfway.
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
from pipeline.store.address import parsed, postgres_options, sqlite_options
from pipeline.store.faults import explained, place
from pipeline.store.sqlite_file import DatabaseFile

_FIRST_START = "run `undercam store` or `undercam run` once: it creates the database"
_MIGRATION_LOCK = 0x756E646572  # "under": PostgreSQL's advisory locks are named by numbers
_FILE, _IDENTITY = "database_file", "database_file_identity"
"""Where an engine on SQLite keeps its DatabaseFile, and a connection which file it opened."""
_alembic = Lock()  # Alembic keeps the running migration in a module global


def open_store(url: str, busy_timeout_s: float = 5.0, read_only: bool = False) -> Engine:
    """An engine on `sqlite:///FILE` or `postgresql://...`, its schema up to date.

    A SQLite file and its folder are made where missing. `busy_timeout_s` bounds the wait for a
    lock, and for PostgreSQL to answer. With `read_only` nothing is created, migrated or written.
    Raises ConfigError for a URL that cannot be used; ServiceError for a database that cannot be
    reached, is locked, is none, or whose schema does not fit.
    """
    engine = _engine(url, busy_timeout_s, read_only)
    try:
        with explained(engine.url):
            (_require_head if read_only else _migrate)(engine)
    except UndercamError:
        engine.dispose()
        raise
    return engine


def schema_of(url: str, busy_timeout_s: float = 5.0) -> tuple[str | None, str | None, str]:
    """The revision of a database's schema, None where it has no tables; the newest that we know;
    and where the database is, without user or password. Nothing is written.

    Raises what `open_store` raises with `read_only`, but for a schema that is older.
    """
    scripts, engine = _scripts(), _engine(url, busy_timeout_s, read_only=True)
    try:
        with explained(engine.url), engine.connect() as connection:
            return _revision(connection, scripts), scripts.get_current_head(), place(engine.url)
    finally:
        engine.dispose()


@contextmanager
def using_store(url: str, busy_timeout_s: float = 5.0) -> Iterator[Engine]:
    """The engine of `open_store` for as long as the block lasts."""
    engine = open_store(url, busy_timeout_s)
    try:
        yield engine
    finally:
        engine.dispose()


def writing(engine: Engine) -> Engine:
    """The same pool, for transactions that will write."""
    return engine.execution_options(writes=True)


@contextmanager
def storing(engine: Engine) -> Iterator[Connection]:
    """A transaction whose rows are where others will read them when the block ends.

    Raises ServiceError where the database cannot take them, and where its file was removed or
    replaced meanwhile: then do all of it again.
    """
    renew(engine)
    file = _file_of(engine)
    with explained(engine.url), writing(engine).begin() as connection:
        began_in = connection.info.get(_IDENTITY)
        yield connection
    if file and file.identity() != began_in:
        engine.dispose()
        remedy = "put it back, or leave it: what was not stored will be sent again"
        raise ServiceError("database file was removed or replaced", str(file.path), remedy)


def renew(engine: Engine) -> bool:
    """Whether the database is another one than at the last call: its file was replaced, or made
    anew after it was removed. Then its tables are up to date again.

    Raises ServiceError while the file is gone, and what `open_store` raises of the new one.
    """
    file = _file_of(engine)
    if file is None:
        return False
    file.await_return()
    with explained(engine.url), engine.connect() as connection:
        is_same = connection.info.get(_IDENTITY) == file.identity()
    if is_same:
        return False
    engine.dispose()
    with explained(engine.url):
        _migrate(engine)
    return True


def _file_of(engine: Engine) -> DatabaseFile | None:
    file: DatabaseFile | None = engine.get_execution_options().get(_FILE)
    return file


def _engine(url: str, busy_timeout_s: float, read_only: bool) -> Engine:
    target = parsed(url)
    is_file = target.get_backend_name() == "sqlite"
    return (_sqlite if is_file else _postgres)(target, busy_timeout_s, read_only)


def _sqlite(url: URL, busy_timeout_s: float, read_only: bool) -> Engine:
    options = sqlite_options(url, busy_timeout_s)
    file = DatabaseFile(url.database or "")
    if read_only and not file.path.is_file():
        raise ServiceError("no such database", str(url.database), _FIRST_START)
    if not read_only:
        file.make()
    engine = create_engine(
        url.set(query={}),
        connect_args=options,
        hide_parameters=True,
        execution_options={_FILE: file},
    )

    @event.listens_for(engine, "do_connect")
    def connecting(_: Any, __: Any, arguments: list[Any], options: dict[str, Any]) -> None:
        # SQLite would make a file that was removed meanwhile, open to all and without tables.
        if not options.get("uri"):
            arguments[0], options["uri"] = file.address, True

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None
        if read_only:
            connection.execute("PRAGMA query_only=ON")
        else:
            _use_wal(connection, options["timeout"])
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # opens the log
        record.info[_IDENTITY] = file.identity()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _use_wal(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    # Two who turn a new file to WAL: one is told "busy" at once, whatever the timeout (2 of 480).
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _postgres(url: URL, busy_timeout_s: float, read_only: bool) -> Engine:
    engine = create_engine(
        url.difference_update_query(["prepare_threshold"]),
        connect_args=postgres_options(url, busy_timeout_s),
        pool_pre_ping=True,
        hide_parameters=True,
        execution_options={"postgresql_readonly": True} if read_only else {},
    )

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(busy_timeout_s * 1000)}")

    return engine


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).with_name("migrations")))


def _revision(connection: Connection, scripts: ScriptDirectory) -> str | None:
    """The revision of the database; raises ServiceError for one that this code does not know."""
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision not in {None, *(script.revision for script in scripts.walk_revisions())}:
        raise ServiceError(
            f"schema {revision} is newer than this version of Undercam",
            place(connection.engine.url),
            "upgrade undercam, or give another database",
        )
    return revision


def _require_head(engine: Engine) -> None:
    scripts = _scripts()
    with engine.connect() as connection:
        revision = _revision(connection, scripts)
    if revision is None:
        raise ServiceError("database has no tables yet", place(engine.url), _FIRST_START)
    if revision != scripts.get_current_head():
        raise ServiceError(
            f"schema {revision} is older than this version of Undercam",
            place(engine.url),
            "run `undercam store` or `undercam run` once: it migrates the database",
        )


def _migrate(engine: Engine) -> None:
    scripts = _scripts()
    with engine.connect() as connection:
        if _revision(connection, scripts) == scripts.get_current_head():
            return
    with _alembic, writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        _upgrade(connection, scripts, _revision(connection, scripts))


def _upgrade(connection: Connection, scripts: ScriptDirectory, revision: str | None) -> None:
    context = MigrationContext.configure(connection)
    with Operations.context(context):
        for script in reversed(list(scripts.iterate_revisions("head", revision or "base"))):
            script.module.upgrade()
    context.stamp(scripts, "head")
