"""Stores messages; one that the database refuses for good becomes a dead letter, not a blockade."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from pipeline.errors import RecordRefused
from pipeline.messages import Message, read_message
from pipeline.records import DeadLetter, Event
from pipeline.store.writer import StoreWriter

DEAD_LETTER_BYTES = 16 * 2**20
"""A longer payload of a dead letter is truncated to this size."""


def store_messages(writer: StoreWriter, messages: Sequence[Message]) -> int:
    """Stores events, and as dead letters what is unreadable or refused by the database.

    Returns how many records became dead letters here. Raises ServiceError when the database cannot
    take them now; then send all of it again.
    """
    read = [read_message(one) for one in messages]
    refused = store_events(writer, [one for one in read if not isinstance(one, DeadLetter)])
    dead = [one for one in read if isinstance(one, DeadLetter)]
    store_dead_letters(writer, [*dead, *refused])
    return len(dead) + len(refused) - sum(isinstance(one, DeadLetter) for one in messages)


def store_events(writer: StoreWriter, events: Sequence[Event]) -> list[DeadLetter]:
    """Stores events; returns those that the database refuses for good, as dead letters."""
    try:
        writer.write(events)
    except RecordRefused as refusal:
        # The error does not say which row it is about, so halve the batch until one event is left.
        if len(events) == 1:
            return [DeadLetter.of(events[0], str(refusal))]
        half = len(events) // 2
        return [*store_events(writer, events[:half]), *store_events(writer, events[half:])]
    return []


def store_dead_letters(writer: StoreWriter, dead: Sequence[DeadLetter]) -> int:
    """Stores dead letters, shortened where necessary; returns how many were truncated."""
    short = [
        dead_letter.cut(DEAD_LETTER_BYTES) if dead_letter.payload else dead_letter
        for dead_letter in dead
    ]
    truncated = sum(one is not dead_letter for one, dead_letter in zip(short, dead, strict=True))
    return truncated + _write_halving(writer, short)


def _write_halving(writer: StoreWriter, dead: Sequence[DeadLetter]) -> int:
    try:
        writer.write_dead_letters(dead)
    except RecordRefused as refusal:
        if len(dead) == 1:
            return _write_reduced(writer, dead[0], refusal)
        half = len(dead) // 2
        return _write_halving(writer, dead[:half]) + _write_halving(writer, dead[half:])
    return 0


def _write_reduced(writer: StoreWriter, dead_letter: DeadLetter, refusal: RecordRefused) -> int:
    for reduced in _reductions(dead_letter):
        try:
            writer.write_dead_letters([reduced])
        except RecordRefused as still:
            refusal = still
        else:
            return 1
    # A database that refuses even a hash and a fixed sentence is itself at fault: raise, so that
    # the message stays in the outbox or the bus.
    raise refusal


def _reductions(dead_letter: DeadLetter) -> Iterator[DeadLetter]:
    """The letter without its payload, then only the hash of its origin."""
    yield dead_letter.cut(0)
    digest = hashlib.sha256(dead_letter.origin.encode(errors="replace")).hexdigest()
    yield DeadLetter(f"sha256:{digest}", "the database refuses its origin, reason and payload", b"")
