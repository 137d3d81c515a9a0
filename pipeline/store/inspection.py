"""Whether a database can be used as it is; nothing is created, migrated or written."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Engine, delete, false, text

from pipeline.errors import ServiceError
from pipeline.store.engine import open_store, schema_of, writing
from pipeline.store.faults import explained, place
from pipeline.store.schema import cameras


def inspect_store(url: str, busy_timeout_s: float) -> str:
    """What was found, in a few words.

    Raises what `open_store` raises, and ServiceError for a database, or a place for one, in which
    this user may not write.
    """
    file = sqlite_file(url)
    if file and not file.exists():
        _require_room(file)
        return f"{file} is not there yet: it is made at the first start"
    revision, newest, where = schema_of(url, busy_timeout_s)
    if revision is None:
        return f"{where}: its tables are made at the first start"
    if revision != newest:
        return f"{where}: schema {revision}, brought up to {newest} at the next start"
    engine = open_store(url, busy_timeout_s)
    try:
        _require_rights(engine, file)
    finally:
        engine.dispose()
    return f"{where}: schema {revision}, writable"


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite database; None for any other."""
    scheme, _, rest = url.partition(":///")
    return Path(rest.partition("?")[0]) if scheme.partition("+")[0] == "sqlite" and rest else None


def _require_room(file: Path) -> None:
    folder = next(above for above in file.absolute().parents if above.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        remedy = "make it a folder that this user may write, or set store.url"
        raise ServiceError("cannot create the database", str(folder), remedy)


def _require_rights(engine: Engine, file: Path | None) -> None:
    if file and not (os.access(file, os.W_OK) and os.access(file.absolute().parent, os.W_OK)):
        remedy = "make the file and its folder writable"
        raise ServiceError("database is read-only", str(file), remedy)
    with explained(engine.url), writing(engine).connect() as connection:
        # It asks for the lock and the right to write, and changes no row.
        connection.execute(delete(cameras).where(false()))
        if connection.dialect.name == "postgresql":
            read_only = connection.execute(text("SHOW transaction_read_only")).scalar_one()
            if read_only == "on":
                remedy = "connect to the primary server"
                raise ServiceError("database is read-only", place(engine.url), remedy)
        connection.rollback()
