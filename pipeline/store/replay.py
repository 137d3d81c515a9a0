"""Dead letters of a newer release, read again once this release knows their version."""

from __future__ import annotations

from pipeline.messages import NEWER, read_record
from pipeline.records import DeadLetter, Event
from pipeline.store.refusals import store_dead_letters, store_events
from pipeline.store.writer import StoreWriter

PART_ROWS = 500
"""Most dead letters in one transaction."""


def replay_newer(writer: StoreWriter) -> int:
    """Stores the records that an older release put among the dead letters; returns how many.

    For the start of a store, and now and then: stores of the old release may run beside it for a
    while. Order does not matter: rows depend on the set of events only. Raises ServiceError.
    """
    replayed, last = 0, ""
    while found := writer.read_dead_letters(NEWER, last, PART_ROWS):
        last = found[-1].origin
        records = {
            dead_letter.origin: read_record(dead_letter.payload, dead_letter.origin)
            for dead_letter in found
        }
        known = {key: one for key, one in records.items() if not isinstance(one, DeadLetter)}
        _store(writer, list(known.values()))
        # Only now: a crash before it stores them again, and ids make that one row.
        writer.delete_dead_letters(list(known))
        replayed += len(known)
    return replayed


def _store(writer: StoreWriter, events: list[Event]) -> None:
    store_dead_letters(writer, store_events(writer, events))
