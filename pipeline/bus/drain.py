"""The reading side of one outbox file: hand out its oldest, forget what has arrived."""

from __future__ import annotations

from pathlib import Path

from pipeline.bus import runfile
from pipeline.records import EventsLost, Mail, read_record

PATIENCE_S = 5.0
"""How long to wait for a lock that the writer holds for an instant."""


class Drain:
    """An outbox's file, read by the one relay of its folder. Anything may raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = runfile.opened(path, PATIENCE_S)
        self._last = 0
        self._told: list[tuple[int, int]] = []

    def count(self) -> int:
        """Events in the file, those handed out and not forgotten included, and gaps to be told."""
        handed_out, untold = self._file.execute(
            "SELECT (SELECT count(*) FROM events WHERE n <= (SELECT n FROM taken)),"
            " (SELECT count(*) FROM lost WHERE events > told)"
        ).fetchone()
        return handed_out + untold + len(runfile.waiting_in(self._file))

    def lost(self) -> int:
        """Events that the writer had to shed."""
        (events,) = self._file.execute("SELECT coalesce(sum(events), 0) FROM lost").fetchone()
        return int(events)

    def take(self, most: int) -> list[Mail]:
        """The oldest records, at most so many, and what was lost since it was last told.

        The writer sheds none of them from now on. Until `forget` they are handed out again.
        """
        if not self.count():
            return []
        with runfile.transaction(self._file):
            rows = self._file.execute("SELECT n, body FROM events ORDER BY n LIMIT ?", (most,))
            found = rows.fetchall()
            self._last = found[-1][0] if found else 0
            self._file.execute("UPDATE taken SET n = max(n, ?)", (self._last,))
            losses = self._losses()
        return [*(read_record(body, f"{self._path.name}/{n}") for n, body in found), *losses]

    def forget(self) -> None:
        """What was taken last has arrived."""
        with runfile.transaction(self._file):
            self._file.execute("DELETE FROM events WHERE n <= ?", (self._last,))
            self._file.executemany("UPDATE lost SET told = ? WHERE n = ?", self._told)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _losses(self) -> list[EventsLost]:
        rows = self._file.execute(
            "SELECT n, since_ms, until_ms, events FROM lost WHERE events > told ORDER BY n"
        ).fetchall()
        self._told = [(events, n) for n, _, _, events in rows]
        camera, run, _ = self._path.name.split(".")
        return [
            EventsLost(
                id=EventsLost.make_id(camera, run, n),
                camera=camera,
                run=run,
                since_ms=since_ms,
                until_ms=until_ms,
                events=events,
                reason="outbox was full",
            )
            for n, since_ms, until_ms, events in rows
        ]
