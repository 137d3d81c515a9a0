"""Every version of every record that was ever written is read, and a newer one is not lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.messages import NEWEST, EncodedRecord, Schema, read_message, read_record
from pipeline.records import EVENT_TYPES, LIFTS, DeadLetter, Event, FaceObserved

EXAMPLES = Path(__file__).parents[2] / "docs/schemas/examples"
LINES = [
    pytest.param(line, id=f"{path.stem}:{n}")
    for path in sorted(EXAMPLES.glob("*.jsonl"))
    for n, line in enumerate(path.read_text(encoding="utf-8").splitlines())
]
"""As writers of each version wrote them."""


def versions_of(kind: str) -> set[int]:
    return {int(path.stem.rpartition("-")[2]) for path in EXAMPLES.glob(f"{kind}-*.jsonl")}


def fields_of(record: Event | DeadLetter) -> dict[str, Any]:
    assert not isinstance(record, DeadLetter), record.reason
    return {k: v for k, v in json.loads(record.to_json()).items() if k != "schema"}


@pytest.mark.parametrize("line", LINES)
def test_every_line_ever_written_is_read_as_the_newest_version(line: str) -> None:
    written = json.loads(line)
    read = read_record(line.encode(), "o")
    assert isinstance(read, EVENT_TYPES)
    schema = Schema.parse(read.schema_)
    assert schema
    assert written["schema"].startswith(f"undercam.{schema.kind}/")
    assert schema.version == NEWEST[schema.kind]
    assert (read.id, read.camera, read.run) == (written["id"], written["camera"], written["run"])


def test_there_is_a_lift_and_a_golden_line_for_every_version() -> None:
    for kind, newest in NEWEST.items():
        assert versions_of(kind) == set(range(1, newest + 1))
        assert set(LIFTS.get(kind, {})) == set(range(1, newest))
    assert LIFTS.keys() <= NEWEST.keys()


def test_version_1_of_an_observation_says_in_words_that_nobody_answered() -> None:
    old = (EXAMPLES / "face_observed-1.jsonl").read_text(encoding="utf-8").splitlines()
    read = [read_record(line.encode(), "o") for line in old]
    assert [one.answered for one in read if isinstance(one, FaceObserved)] == [True, False, True]
    for record, line in zip(read, old, strict=True):
        written = json.loads(line)
        lifted = fields_of(record)
        del written["schema"], lifted["answered"]
        assert lifted == written


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ("face_observed/3", "record face_observed/3 is newer than this release reads (2): upgrade"),
        ("events_lost/2", "record events_lost/2 is newer than this release reads (1): upgrade"),
        ("erased/1", "record erased/1 is newer than this release reads (nothing of this kind): "),
    ],
)
def test_a_newer_record_says_what_reads_it(schema: str, sentence: str, make: Any) -> None:
    payloads = [b'{"schema": "undercam.%s", "n": %d}' % (schema.encode(), n) for n in range(2)]
    first, second = (read_record(payload, "door.e1.outbox/1") for payload in payloads)
    assert isinstance(first, DeadLetter)
    assert isinstance(second, DeadLetter)
    assert first.reason.startswith(sentence)
    assert (first.payload, second.payload) == tuple(payloads)
    assert first == read_record(payloads[0], "door.e1.outbox/1")
    assert first.origin != second.origin, "one place, two records: both are kept"


@pytest.mark.parametrize("name", ["undercam.face_observed/01", "face_observed/1", "", 1, None])
def test_what_is_no_schema(name: object) -> None:
    assert Schema.parse(name) is None


def test_a_message_is_read_or_is_what_it_is(make: Any) -> None:
    look, letter = make.look(), DeadLetter("o", "r", b"p")
    assert read_message(look) is look
    assert read_message(letter) is letter
    assert read_message(EncodedRecord.of(look)) == look
    broken = read_message(EncodedRecord.of(look)._replace(payload=b"{", origin="a.e1.outbox/7"))
    assert isinstance(broken, DeadLetter)
    assert (broken.origin, broken.payload) == ("a.e1.outbox/7", b"{")
