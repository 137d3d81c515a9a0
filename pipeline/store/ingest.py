"""Messages into the store: what the database never takes is set aside, the rest is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from pipeline.errors import RecordRefused
from pipeline.messages import Message, read_message
from pipeline.records import DeadLetter, Event
from pipeline.store.writer import StoreWriter

LETTER_BYTES = 16 * 2**20
"""The most that is kept of a dead letter's payload: rows are there to be read."""


def store_mail(writer: StoreWriter, mail: Sequence[Message]) -> int:
    """Stores events, and as dead letters what cannot be read or what the database refuses.

    Returns how many records became dead letters here. Raises ServiceError when the database cannot
    take them now; then send all of it again.
    """
    read = [read_message(one) for one in mail]
    refused = write_or_refuse(writer, [one for one in read if not isinstance(one, DeadLetter)])
    letters = [one for one in read if isinstance(one, DeadLetter)]
    write_letters(writer, [*letters, *refused])
    return len(letters) + len(refused) - sum(isinstance(one, DeadLetter) for one in mail)


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


def write_letters(writer: StoreWriter, letters: Sequence[DeadLetter]) -> int:
    """Stores dead letters, each without what makes it impossible; returns how many were cut."""
    whole = [letter.cut(LETTER_BYTES) if letter.payload else letter for letter in letters]
    cut = sum(one is not letter for one, letter in zip(whole, letters, strict=True))
    return cut + _write_letters(writer, whole)


def _write_letters(writer: StoreWriter, letters: Sequence[DeadLetter]) -> int:
    try:
        writer.write_dead_letters(letters)
    except RecordRefused as refusal:
        if len(letters) == 1:
            return _write_less(writer, letters[0], refusal)
        half = len(letters) // 2
        return _write_letters(writer, letters[:half]) + _write_letters(writer, letters[half:])
    return 0


def _write_less(writer: StoreWriter, letter: DeadLetter, refusal: RecordRefused) -> int:
    for less in _less(letter):
        try:
            writer.write_dead_letters([less])
        except RecordRefused as still:
            refusal = still
        else:
            return 1
    # A database that takes not even plain letters is at fault, and not what is to be written.
    raise refusal


def _less(letter: DeadLetter) -> Iterator[DeadLetter]:
    """The same with less and less of it; in the end the digest of its origin."""
    yield letter.cut(0)
    digest = hashlib.sha256(letter.origin.encode(errors="replace")).hexdigest()
    yield DeadLetter(f"sha256:{digest}", "database refuses all else of it", b"")
