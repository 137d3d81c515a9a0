"""Checks whether a database can be used; nothing is created, migrated or written."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Engine, delete, false, text

from pipeline.errors import ServiceError
from pipeline.store.engine import for_writing, open_store, read_schema_revision
from pipeline.store.schema import cameras
from pipeline.store.service_errors import describe_location, translate_errors


def inspect_store(url: str, busy_timeout_s: float) -> str:
    """The state of the database in a few words, as `undercam doctor` prints it.

    Raises what `open_store` raises, and ServiceError for a database or a folder that this user may
    not write.
    """
    file = sqlite_path(url)
    if file and not file.exists():
        _require_writable_folder(file)
        return f"{file} does not exist yet: it is created at the first start"
    revision, newest, where = read_schema_revision(url, busy_timeout_s)
    if revision is None:
        return f"{where}: its tables are created at the first start"
    if revision != newest:
        return f"{where}: schema {revision}, migrated to {newest} at the next start"
    engine = open_store(url, busy_timeout_s)
    try:
        _require_write_access(engine, file)
    finally:
        engine.dispose()
    return f"{where}: schema {revision}, writable"


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite database; None for any other."""
    scheme, _, rest = url.partition(":///")
    return Path(rest.partition("?")[0]) if scheme.partition("+")[0] == "sqlite" and rest else None


def _require_writable_folder(file: Path) -> None:
    folder = next(above for above in file.absolute().parents if above.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        remedy = "make it a folder that this user may write, or set store.url"
        raise ServiceError("cannot create the database", str(folder), remedy)


def _require_write_access(engine: Engine, file: Path | None) -> None:
    if file and not (os.access(file, os.W_OK) and os.access(file.absolute().parent, os.W_OK)):
        remedy = "make the file and its folder writable"
        raise ServiceError("database is read-only", str(file), remedy)
    with translate_errors(engine.url), for_writing(engine).connect() as connection:
        # A DELETE without rows needs the write lock and the right to write, and changes nothing.
        connection.execute(delete(cameras).where(false()))
        if connection.dialect.name == "postgresql":
            read_only = connection.execute(text("SHOW transaction_read_only")).scalar_one()
            if read_only == "on":
                remedy = "connect to the primary server"
                raise ServiceError("database is read-only", describe_location(engine.url), remedy)
        connection.rollback()
