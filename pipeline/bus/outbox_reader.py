"""The reading side of one outbox file: hand out its oldest, forget what has arrived."""

from __future__ import annotations

from pathlib import Path

from pipeline.bus import outbox_file
from pipeline.records import EventsLost, Mail, read_record

PATIENCE_S = 5.0
"""How long to wait for a lock that the writer holds for an instant."""


class OutboxReader:
    """An outbox's file, read by the one relay of its folder. Anything may raise sqlite3.Error.

    What has arrived is not handed out again, even where a full disk keeps it from being deleted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = outbox_file.opened(path, PATIENCE_S)
        self._inode = path.stat().st_ino
        self._last = self._done = 0
        self._telling: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._owes = False

    def is_current(self) -> bool:
        """Whether the file is still the one of that name: its writer may have begun anew."""
        return self._path.stat().st_ino == self._inode

    def count(self) -> int:
        """Events that have not arrived, those handed out included, and gaps to be told."""
        (handed_out,) = self._file.execute(
            "SELECT count(*) FROM events WHERE n > ? AND n <= (SELECT n FROM taken)", (self._done,)
        ).fetchone()
        return int(handed_out) + len(outbox_file.waiting_in(self._file)) + len(self._untold())

    def lost(self) -> int:
        """Events that the writer had to shed."""
        (events,) = self._file.execute("SELECT coalesce(sum(events), 0) FROM lost").fetchone()
        return int(events)

    def take(self, most: int) -> list[Mail]:
        """The oldest records, at most so many, and what was lost since it was last told.

        The writer sheds none of them from now on. Until `forget` they are handed out again.
        """
        if not self.count():
            if self._owes:
                self._delete()
            return []
        with outbox_file.transaction(self._file):
            found = self._file.execute(
                "SELECT n, body FROM events WHERE n > ? ORDER BY n LIMIT ?", (self._done, most)
            ).fetchall()
            self._last = found[-1][0] if found else self._done
            self._file.execute("UPDATE taken SET n = max(n, ?)", (self._last,))
            losses = self._untold()
        self._telling = {n: events for n, _, _, events in losses}
        events = [read_record(body, f"{self._path.name}/{n}") for n, body in found]
        return [*events, *(gap_of(self._path, loss) for loss in losses)]

    def forget(self) -> None:
        """What was taken last has arrived."""
        self._done = self._last
        self._told |= self._telling
        self._owes = True
        self._delete()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _delete(self) -> None:
        with outbox_file.transaction(self._file):
            self._file.execute("DELETE FROM events WHERE n <= ?", (self._done,))
            told = [(events, n) for n, events in self._told.items()]
            self._file.executemany("UPDATE lost SET told = ? WHERE n = ?", told)
        self._told.clear()
        self._owes = False

    def _untold(self) -> list[tuple[int, int, int, int]]:
        rows = self._file.execute(
            "SELECT n, since_ms, until_ms, events FROM lost WHERE events > told ORDER BY n"
        ).fetchall()
        return [row for row in rows if row[3] > self._told.get(row[0], 0)]


def gap_of(
    path: Path, loss: tuple[int, int, int, int], reason: str = "outbox was full"
) -> EventsLost:
    """The record of a loss (number, since_ms, until_ms, events) in the outbox at `path`."""
    number, since_ms, until_ms, events = loss
    camera, run, _ = path.name.split(".")
    return EventsLost(
        id=EventsLost.make_id(camera, run, number),
        camera=camera,
        run=run,
        since_ms=since_ms,
        until_ms=until_ms,
        events=events,
        reason=reason,
    )
