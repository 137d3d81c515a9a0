"""Mail into the store: what the database never takes is set aside and does not stop the rest."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import RecordRefused
from pipeline.records import DeadLetter, Event, Mail
from pipeline.store.writer import StoreWriter


def store_mail(writer: StoreWriter, mail: Sequence[Mail]) -> None:
    """Stores events, and as dead letters what no one can read or the database refuses.

    Raises ServiceError when the database cannot take them now; then send all of it again.
    """
    refused = write_or_refuse(writer, [one for one in mail if not isinstance(one, DeadLetter)])
    letters = [one for one in mail if isinstance(one, DeadLetter)]
    writer.write_dead_letters([*letters, *refused])


def write_or_refuse(writer: StoreWriter, events: Sequence[Event]) -> list[DeadLetter]:
    """Stores events; returns those that the database refuses for good, found by halving."""
    try:
        writer.write(events)
    except RecordRefused as refusal:
        if len(events) == 1:
            return [DeadLetter.of(events[0], str(refusal))]
        half = len(events) // 2
        return [*write_or_refuse(writer, events[:half]), *write_or_refuse(writer, events[half:])]
    return []
