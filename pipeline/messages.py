"""What travels from outbox to bus and store, and the reading of it, whatever its version.

Outboxes and topics hold records of several releases at once: the tail of a machine that was away, a
topic that is read again, a rolling upgrade. A record of an older version is lifted step by step to
the newest. One of a newer version, or of a kind that this release does not know, becomes a dead
letter whose reason says so; a store that knows it reads that dead letter again
(`pipeline.store.replay`).
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from pipeline.records import EVENT_TYPES, LIFTS, DeadLetter, Event

NEWER = " is newer than this release reads "
"""Stands in the reason of every dead letter that a later release may read."""
_SCHEMA = re.compile(r"undercam\.([a-z][a-z_]{0,62})/([1-9][0-9]{0,5})")
_ANY_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="schema_")])


class Schema(NamedTuple):
    """The kind of a record, and its version."""

    kind: str
    version: int

    @classmethod
    def parse(cls, name: object) -> Schema | None:
        """From "undercam.face_observed/2"; None for anything else."""
        found = _SCHEMA.fullmatch(name) if isinstance(name, str) else None
        return cls(found[1], int(found[2])) if found else None

    @property
    def name(self) -> str:
        """As it stands in a record."""
        return f"undercam.{self.kind}/{self.version}"


NEWEST = {
    schema.kind: schema.version
    for schema in map(Schema.parse, (record.schema_name() for record in EVENT_TYPES))
    if schema
}
"""The version that this release writes, by kind."""


class EncodedRecord(NamedTuple):
    """A record as its writer encoded it, with what a bus must know of it without reading it.

    `origin` is its place in the outbox.
    """

    id: str
    schema: str
    camera: str
    payload: bytes
    origin: str

    @classmethod
    def of(cls, event: Event) -> EncodedRecord:
        """Of a record that was made here."""
        return cls(event.id, event.schema_, event.camera, event.to_json().encode(), event.id)


Message = Event | EncodedRecord | DeadLetter
"""What a relay delivers, and what Kafka and the store take."""


def read_message(message: Message) -> Event | DeadLetter:
    """The record in a message, or the dead letter that says why there is none."""
    if isinstance(message, EncodedRecord):
        return read_record(message.payload, message.origin)
    return message


def read_record(payload: bytes, origin: str) -> Event | DeadLetter:
    """The record in one line of JSON, of the newest version, or a dead letter with the reason."""
    try:
        return _ANY_EVENT.validate_json(payload)
    except ValidationError as error:
        # Nearly every record is of the newest version: only others pay for a second look.
        is_other = error.errors(include_url=False)[0]["type"] == "union_tag_invalid"
        return _read_other(payload, origin, error) if is_other else _refuse(payload, origin, error)


def _read_other(payload: bytes, origin: str, error: ValidationError) -> Event | DeadLetter:
    """A record of another version than the newest."""
    fields: dict[str, Any] = from_json(payload)
    schema = Schema.parse(fields.get("schema"))
    if schema is None:
        return _refuse(payload, origin, error)
    newest = NEWEST.get(schema.kind, 0)
    if schema.version > newest:
        return _refuse_newer(payload, origin, schema, newest)
    try:
        # As JSON again: pydantic takes from JSON what it refuses from Python's objects.
        return _ANY_EVENT.validate_json(to_json(_lift(fields, schema, newest)))
    except ValidationError as later:
        return _refuse(payload, origin, later)
    except PydanticSerializationError as later:
        return DeadLetter(origin, str(later), payload)


def _lift(fields: dict[str, Any], schema: Schema, newest: int) -> dict[str, Any]:
    for version in range(schema.version, newest):
        fields = LIFTS[schema.kind][version](fields)
    return fields | {"schema": Schema(schema.kind, newest).name}


def _refuse(payload: bytes, origin: str, error: ValidationError) -> DeadLetter:
    (first, *_) = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(part) for part in first["loc"])
    return DeadLetter(origin, f"{place}: {first['msg']}" if place else first["msg"], payload)


def _refuse_newer(payload: bytes, origin: str, schema: Schema, newest: int) -> DeadLetter:
    known = f"({newest})" if newest else "(nothing of this kind)"
    reason = f"record {schema.kind}/{schema.version}{NEWER}{known}: upgrade the store first"
    # The table keeps one dead letter an origin. An outbox that was emptied and begun anew gives the
    # same places again, and here each payload is one that must not be lost.
    digest = hashlib.sha256(payload).hexdigest()[:16]
    return DeadLetter(f"{origin}:{digest}", reason, payload)
