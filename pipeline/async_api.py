"""The AsyncAPI document of the topics: which records each one carries, with what key and headers.

AsyncAPI 3.0. `pipeline.schemas` writes it, with the default of `bus.topic_prefix`.
"""

from __future__ import annotations

from typing import Any

from pipeline.records import CameraStatus, EventsLost, FaceObserved, Record, TrackUpdated

Document = dict[str, Any]
CHANNELS: dict[str, tuple[str, tuple[type[Record], ...]]] = {
    "observations": ("Every classified face of every analysed frame.", (FaceObserved,)),
    "tracks": ("The begin, the progress and the end of every track.", (TrackUpdated,)),
    "cameras": ("The states of cameras, and events known to be lost.", (CameraStatus, EventsLost)),
}
DEAD = "dead"
KEY = {"type": "string", "description": "The camera: its records are in order."}
HEADERS = {
    "type": "object",
    "required": ["id", "schema"],
    "properties": {
        "id": {"type": "string", "description": "The record's id; a resent record has it again."},
        "schema": {"type": "string", "description": "Kind and version, as in the record."},
    },
}
DEAD_HEADERS = {
    "type": "object",
    "required": ["origin", "reason"],
    "properties": {
        "origin": {"type": "string", "description": "Where the record was."},
        "reason": {"type": "string", "description": "Why it cannot be stored."},
    },
}


def build_async_api(prefix: str) -> Document:
    """The document; the records' schemas are the files beside it."""
    channels: Document = {
        name: {
            "address": f"{prefix}.{name}",
            "description": description,
            "messages": {_name(kind): _message(kind) for kind in kinds},
        }
        for name, (description, kinds) in CHANNELS.items()
    }
    channels[DEAD] = {
        "address": f"{prefix}.{DEAD}",
        "description": "Records that cannot be stored, byte for byte.",
        "messages": {"dead_letter": {"headers": DEAD_HEADERS, "payload": {}}},
    }
    operations = {
        f"read_{name}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}}
        for name in channels
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Undercam",
            "version": "1",
            "description": "Facial-expression events. Labels say what a face shows, not what a "
            "person feels. Delivery is at least once: a record that comes again has the same id.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }


def _name(kind: type[Record]) -> str:
    return kind.schema_name().removeprefix("undercam.").partition("/")[0]


def _message(kind: type[Record]) -> Document:
    document = kind.schema_name().removeprefix("undercam.").replace("/", "-")
    return {
        "name": kind.schema_name(),
        "summary": (kind.__doc__ or "").partition("\n")[0],
        "headers": HEADERS,
        "payload": {"$ref": f"./{document}.json"},
        "bindings": {"kafka": {"key": KEY}},
    }
