"""Deletes from an outbox what was erased, so that not even its bytes are left in the file.

In a file no number may be missing between the first and the last. So what is erased in its middle
loses all but its number, and goes with the rows before it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pipeline.bus import outbox_file
from pipeline.erasure import Erasure, ErasureFilter, Subject, is_recording

PAGE_ROWS = 500
"""Rows in one transaction: the writer waits for less than its patience."""


def erase_rows(file: sqlite3.Connection, name: outbox_file.Name, erasures: ErasureFilter) -> int:
    """Delete the rows that erasures cover; returns how many. Raises sqlite3.Error.

    A recording of which any row was read too early is erased as a whole: `erasures` know it then.
    """
    overwrite_deleted(file)
    if is_recording(name.run) and _is_early(file, erasures):
        erasures.add(Erasure(name.camera, run=name.run))
    has_headers = outbox_file.has_headers(file)
    blank = "body = ''" + (", id = NULL, schema = NULL" if has_headers else "")
    erased, last = 0, 0
    while rows := _read_page(file, last):
        last = rows[-1][0]
        covered = [(n,) for n, body in rows if erasures.covers(Subject.of_payload(body))]
        if covered:
            with outbox_file.transaction(file):
                changed = file.executemany(f"UPDATE events SET {blank} WHERE n = ?", covered)
            erased += changed.rowcount
    with outbox_file.transaction(file):
        file.execute(
            "DELETE FROM events WHERE n < coalesce((SELECT min(n) FROM events WHERE body != ''),"
            " (SELECT max(n) + 1 FROM events))"
        )
    return erased


def clear_free_space(file: sqlite3.Connection) -> None:
    """Rewrite the file: what was delivered and deleted before lies in free space, and in the log.

    Raises sqlite3.Error.
    """
    file.execute("VACUUM")
    is_busy, _, _ = file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        error = sqlite3.OperationalError("a reader keeps the log")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error


def overwrite_deleted(file: sqlite3.Connection) -> None:
    """From now on this connection overwrites what it deletes."""
    file.execute("PRAGMA secure_delete=ON").fetchone()


def remove_damaged(folder: Path, erasures: ErasureFilter) -> None:
    """Delete damaged files whose whole content was erased: nobody can search them.

    Raises OSError.
    """
    for path in folder.glob(f"*{outbox_file.SUFFIX}.*.damaged*"):
        camera, run = path.name.split(".")[:2]
        written_ms = round(path.stat().st_mtime * 1000)
        if erasures.covers(Subject(camera, run, 0, written_ms, written_ms)):
            path.unlink()


def _read_page(file: sqlite3.Connection, last: int) -> list[tuple[int, bytes]]:
    page = "SELECT n, body FROM events WHERE n > ? AND body != '' ORDER BY n LIMIT ?"
    return file.execute(page, (last, PAGE_ROWS)).fetchall()


def _is_early(file: sqlite3.Connection, erasures: ErasureFilter) -> bool:
    last = 0
    while rows := _read_page(file, last):
        last = rows[-1][0]
        if erasures.find_recordings(Subject.of_payload(body) for _, body in rows):
            return True
    return False
