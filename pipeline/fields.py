"""What the fields of records may hold: bounds that databases, brokers and readers can live with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

CAMERA_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
CameraId = Annotated[str, StringConstraints(pattern=CAMERA_PATTERN)]
"""A camera's name: lower case letters, digits, dash and underscore; ids from outside are checked
against it."""
RunId = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{12}|e[0-9]+)$", max_length=32)]
"""One uninterrupted reading: 12 hex digits of a file's hash, or `e` and the number of a live
lease."""
MOST = 2**53 - 1
"""The greatest integer in a record: every reader of JSON and every database holds it exactly."""
LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, UTC: no calendar of Python, SQL or JavaScript agrees on
what comes after it."""
REASON_CHARS = 1_000
"""The most characters of a reason."""
NAME_CHARS = 256
"""The most characters of a model's name."""
ORIGIN_CHARS = 512
"""The most characters of a dead letter's origin: an index of PostgreSQL holds 2,704 bytes."""
Count = Annotated[int, Field(ge=0, le=MOST)]
Milliseconds = Annotated[int, Field(ge=0, le=LAST_MS)]
Share = Annotated[float, Field(ge=0, le=1)]
Id = Annotated[str, StringConstraints(max_length=160)]
Name = Annotated[str, StringConstraints(max_length=NAME_CHARS)]
Reason = Annotated[str, StringConstraints(max_length=REASON_CHARS)]
Cause = Annotated[str, StringConstraints(max_length=64)]


def shortened(text: str, most: int = REASON_CHARS) -> str:
    """At most `most` (30 or more) characters of a text; a cut one ends in its whole length.

    What is no character, as half a surrogate pair out of a file's name, becomes `?`.

    >>> shortened("no such file"), shortened("x" * 90, 30)
    ('no such file', 'xxxxxx... (90 characters)')
    """
    text = text.encode(errors="replace").decode()
    if len(text) <= most:
        return text
    return f"{text[: most - 24]}... ({len(text)} characters)"
