"""The reading side of one outbox file: fetch its oldest records, delete what has arrived."""

from __future__ import annotations

from pathlib import Path

from pipeline.bus import outbox_file
from pipeline.bus.outbox_erasure import clear_free_space, erase_rows, overwrite_deleted
from pipeline.erasure import ErasureFilter, Subject
from pipeline.messages import EncodedRecord, Message, read_record
from pipeline.records import DeadLetter, EventsLost

PATIENCE_S = 5.0
"""How long to wait for a lock that the writer holds for an instant."""


class OutboxReader:
    """An outbox's file, read by the one relay of its folder. Anything may raise sqlite3.Error.

    What was acknowledged is not fetched again, even where a full disk keeps it from being deleted.
    `erased` counts the records that were deleted because of an erasure.
    """

    def __init__(self, path: Path) -> None:
        self.erased = 0
        self._path = path
        self._camera = path.name.partition(".")[0]
        self._file = outbox_file.open_file(path, PATIENCE_S)
        self._inode = path.stat().st_ino
        self._last = self._done = self._dropped = 0
        self._losses: dict[int, int] = {}
        self._reported: dict[int, int] = {}
        self._must_delete = False

    def is_current(self) -> bool:
        """Whether the file is still the one of that name: its writer may have made a new one."""
        return self._path.stat().st_ino == self._inode

    def count(self) -> int:
        """Events that have not arrived, those under way included, and gaps to report."""
        (under_way,) = self._file.execute(
            "SELECT count(*) FROM events WHERE n > ? AND n <= (SELECT n FROM taken)", (self._done,)
        ).fetchone()
        return (
            int(under_way) + len(outbox_file.waiting_in(self._file)) + len(self._read_unreported())
        )

    def lost(self) -> int:
        """Events that the writer had to shed."""
        (events,) = self._file.execute("SELECT coalesce(sum(events), 0) FROM lost").fetchone()
        return int(events)

    def fetch(self, most: int, erasures: ErasureFilter | None = None) -> list[Message]:
        """The oldest records, at most so many, and the losses since the last report.

        From now on the writer sheds none of them. Until `acknowledge` they are fetched again. What
        `erasures` cover is left out, and deleted with the rest.
        """
        while self.count():
            records = self._fetch(most, erasures)
            if records:
                return records
            # All of it was erased.
            self.acknowledge()
        if self._must_delete:
            self._delete()
        return []

    def erase(self, erasures: ErasureFilter) -> None:
        """Delete at once what erasures cover, and overwrite its bytes in the file."""
        name = outbox_file.name_of(self._path)
        if name:
            self.erased += erase_rows(self._file, name, erasures)
            clear_free_space(self._file)

    def _fetch(self, most: int, erasures: ErasureFilter | None) -> list[Message]:
        # One transaction: between reading and marking, the writer could shed what we deliver.
        with outbox_file.transaction(self._file):
            headers = "id, schema" if outbox_file.has_headers(self._file) else "NULL, NULL"
            found = self._file.execute(
                f"SELECT n, body, {headers} FROM events WHERE n > ? ORDER BY n LIMIT ?",
                (self._done, most),
            ).fetchall()
            self._last = found[-1][0] if found else self._done
            self._file.execute("UPDATE taken SET n = max(n, ?)", (self._last,))
            losses = self._read_unreported()
        self._losses = {n: events for n, _, _, events in losses}
        self._dropped = 0
        if erasures:
            kept = [row for row in found if not erasures.covers(Subject.of_payload(row[1]))]
            self._dropped = sum(row[1] != b"" for row in found) - sum(row[1] != b"" for row in kept)
            found = kept
            overwrite_deleted(self._file)
        # An empty body was erased before.
        records = [self._message(*row) for row in found if row[1]]
        return [*records, *(gap_of(self._path, loss) for loss in losses)]

    def acknowledge(self) -> None:
        """All that was fetched last has arrived."""
        # Remembered before it is deleted: a disk that refuses the deletion must not make us deliver
        # the same rows again and again.
        self._done = self._last
        self._reported |= self._losses
        self.erased += self._dropped
        self._dropped = 0
        self._must_delete = True
        self._delete()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _message(
        self, n: int, body: bytes, key: bytes | None, schema: bytes | None
    ) -> EncodedRecord | DeadLetter:
        """A row's record, unread; one of the release before is read for its id and schema."""
        origin = f"{self._path.name}/{n}"
        if key and schema:
            return EncodedRecord(key.decode(), schema.decode(), self._camera, body, origin)
        record = read_record(body, origin)
        if isinstance(record, DeadLetter):
            return record
        # The bytes stay those of the old writer: every reader reads them.
        return EncodedRecord(record.id, record.schema_, self._camera, body, origin)

    def _delete(self) -> None:
        with outbox_file.transaction(self._file):
            self._file.execute("DELETE FROM events WHERE n <= ?", (self._done,))
            reported = [(events, n) for n, events in self._reported.items()]
            self._file.executemany("UPDATE lost SET told = ? WHERE n = ?", reported)
        self._reported.clear()
        self._must_delete = False

    def _read_unreported(self) -> list[tuple[int, int, int, int]]:
        rows = self._file.execute(
            "SELECT n, since_ms, until_ms, events FROM lost WHERE events > told ORDER BY n"
        ).fetchall()
        return [row for row in rows if row[3] > self._reported.get(row[0], 0)]


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
