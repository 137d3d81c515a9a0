"""What the fields of records may hold: bounds that every database, broker and reader can handle."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

CAMERA_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
CameraId = Annotated[str, StringConstraints(pattern=CAMERA_PATTERN, max_length=63)]
"""A camera's name: lower case letters, digits, dash and underscore."""
RunId = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{12}|e[0-9]+)$", max_length=32)]
"""One uninterrupted reading: 12 hex digits of a file's hash, or `e` and the number of a live
lease."""
MOST = 2**53 - 1
"""The greatest integer in a record: every reader of JSON and every database holds it exactly."""
LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, UTC: the last year that the calendars of Python, SQL and
JavaScript all know."""
REASON_CHARS = 1_000
"""The most characters of a reason."""
NAME_CHARS = 256
"""The most characters of a model's name."""
ORIGIN_CHARS = 512
"""The most characters of a dead letter's origin: an index of PostgreSQL holds 2,704 bytes."""
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
"""JSON Schema's names of the bounds of a number, and their signs."""
Count = Annotated[int, Field(ge=0, le=MOST)]
Milliseconds = Annotated[int, Field(ge=0, le=LAST_MS)]
Share = Annotated[float, Field(ge=0, le=1)]
Id = Annotated[str, StringConstraints(max_length=160)]
Name = Annotated[str, StringConstraints(max_length=NAME_CHARS)]
Reason = Annotated[str, StringConstraints(max_length=REASON_CHARS)]
Cause = Annotated[str, StringConstraints(max_length=64)]


def shorten(text: str, most: int = REASON_CHARS) -> str:
    """At most `most` (30 or more) characters of a text; a cut one ends with its full length.

    Half a surrogate pair, as in a file name that is not UTF-8, becomes `?`: JSON cannot hold it.

    >>> shorten("no such file"), shorten("x" * 90, 30)
    ('no such file', 'xxxxxx... (90 characters)')
    """
    text = text.encode(errors="replace").decode()
    if len(text) <= most:
        return text
    return f"{text[: most - 24]}... ({len(text)} characters)"


def bounds_of(field: dict[str, Any]) -> str:
    """The range of a number by its JSON Schema; "" of anything else.

    >>> bounds_of({"type": "integer", "minimum": 1, "maximum": 64})
    '≥ 1, ≤ 64'
    """
    # A number that may be left unset is one of several.
    for schema in (field, *field.get("anyOf", [])):
        bounds = [
            f"{sign} {schema[bound]:.10g}" for bound, sign in BOUNDS.items() if bound in schema
        ]
        if bounds:
            return ", ".join(bounds)
    return ""
