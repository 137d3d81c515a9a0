"""Clears a database's files of the bytes of rows that were deleted, by writing them anew.

Overwriting what is deleted is not enough: earlier versions of a row that was updated lie in free
space too.
"""

from __future__ import annotations

import re
import sqlite3
import time
from typing import Any

from sqlalchemy import Connection, Engine

from pipeline.errors import ServiceError
from pipeline.store.engine import for_writing
from pipeline.store.service_errors import translate_errors

CHECKPOINT_S = 5.0
"""How long to wait for readers of SQLite's log before it can be truncated."""
ORDERS = {
    "observations": "observations_camera_captured",
    "tracks": "tracks_camera_ended",
    "emotion_minutes": "emotion_minutes_minute",
    "track_totals": "track_totals_last",
    "runs": "runs_pkey",
    "dead_letters": "dead_letters_stored",
}
"""The tables that erasures delete from, and the index in whose order PostgreSQL writes each."""


def clear_free_space(engine: Engine) -> str:
    """Rewrite the database without what was deleted; returns what keeps that from being done.

    PostgreSQL locks each table while it is rewritten; for a lock it waits no longer than the engine
    does. What its log holds stays until PostgreSQL itself recycles it.
    """
    try:
        with translate_errors(engine.url):
            is_file = engine.dialect.name == "sqlite"
            return _rewrite_file(engine) if is_file else _rewrite_tables(engine)
    except ServiceError as error:
        return str(error)


def _rewrite_file(engine: Engine) -> str:
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


def _rewrite_tables(engine: Engine) -> str:
    writing = for_writing(engine)
    is_clear = True
    for table, index in ORDERS.items():
        with writing.begin() as connection:
            is_clear &= _rewrite_table(connection, table, index)
    with writing.begin() as connection:
        # The planner's statistics quote values of rows.
        connection.exec_driver_sql(f"ANALYZE {', '.join(ORDERS)}")
    if is_clear:
        return ""
    return "an earlier transaction still sees deleted rows: end it, and erase again"


def _rewrite_table(connection: Connection, table: str, index: str) -> bool:
    """Whether no row that was deleted is left in it.

    CLUSTER and not VACUUM FULL, which does the same: it may stand in a transaction, and so have the
    lock_timeout of one, also behind a pooler; and it fails where VACUUM only warns.
    """
    details: list[str] = []

    def keep_detail(diagnostic: Any) -> None:
        details.append(diagnostic.message_detail or "")

    driver: Any = connection.connection.driver_connection
    driver.add_notice_handler(keep_detail)
    try:
        connection.exec_driver_sql(f"CLUSTER VERBOSE {table} USING {index}")
    finally:
        driver.remove_notice_handler(keep_detail)
    # "5 dead row versions cannot be removed yet.", in the server's language.
    left = [int(found[1]) for detail in details if (found := re.match(r"\D*(\d+)", detail))]
    return not any(left)
