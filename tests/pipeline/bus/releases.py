"""Files of the release before, and readers of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, TypeAdapter

from pipeline import messages
from pipeline.records import CameraStatus, FaceObserved, TrackUpdated

EXAMPLES = Path(__file__).parents[3] / "docs/schemas/examples"
OLD_TABLES = """
CREATE TABLE events (n INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,
  body TEXT NOT NULL);
CREATE TABLE lost (n INTEGER PRIMARY KEY, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL,
  events INTEGER NOT NULL, told INTEGER NOT NULL DEFAULT 0);
CREATE TABLE taken (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER);
INSERT INTO taken VALUES (1, 0);
"""


class OldFaceObserved(FaceObserved):
    """Version 1: without `answered`."""

    schema_: Literal["undercam.face_observed/1"] = Field(  # type: ignore[assignment]
        default="undercam.face_observed/1", alias="schema"
    )
    answered: Any = Field(default=None, exclude=True)


def old_lines() -> list[str]:
    """Golden lines of version 1 of every kind of record, with the camera `lobby`, the run `e42`."""
    files = sorted(EXAMPLES.glob("*-1.jsonl"))
    return [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def write_as_before(path: Path, lines: Sequence[str]) -> None:
    """As the writer of the release before: it makes the file where it is missing."""
    path.parent.mkdir(exist_ok=True)
    is_new = not path.exists()
    with closing(sqlite3.connect(path)) as file:
        if is_new:
            file.execute("PRAGMA journal_mode=WAL")
            file.executescript(OLD_TABLES)
        rows = [(1_000 + n, line) for n, line in enumerate(lines)]
        with file:
            file.executemany("INSERT INTO events (at_ms, body) VALUES (?, ?)", rows)


@contextmanager
def release_before() -> Iterator[None]:
    """Readers know version 1 of observations only, and nothing of gaps."""
    old = OldFaceObserved | TrackUpdated | CameraStatus
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[old, Field(discriminator="schema_")])
    newest = {kind: 1 for kind in messages.NEWEST if kind != "events_lost"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "_ANY_EVENT", adapter)
        patch.setattr(messages, "NEWEST", newest)
        yield
