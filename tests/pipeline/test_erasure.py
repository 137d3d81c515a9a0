"""What belongs to an erasure: by the record, and by nothing but its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.erasure import Erasure, ErasureFilter, Subject, parse_track
from pipeline.messages import read_record
from pipeline.records import DeadLetter

EXAMPLES = Path(__file__).parents[2] / "docs/schemas/examples"
FILE = "0123456789ab"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_bytes_tell_what_the_record_tells(path: Path) -> None:
    """Of every version that was ever written."""
    for line in path.read_text("utf-8").splitlines():
        record = read_record(line.encode(), "here")
        assert not isinstance(record, DeadLetter)
        assert Subject.of_payload(line.encode()) == Subject.of(record)


@pytest.mark.parametrize(
    ("erasure", "covered"),
    [
        (Erasure("door", before_ms=1_000), ["door old"]),
        (Erasure("door", requested_ms=2_001), ["door old", "door new"]),
        (Erasure(before_ms=1_001), ["door old", "door new", "hall", "file"]),
        (Erasure(before_ms=1_000), ["door old"]),
        (Erasure(track="trk:door:e1:2"), ["door new"]),
        (Erasure("hall", run=FILE), ["file"]),
    ],
)
def test_what_is_covered(make: Any, erasure: Erasure, covered: list[str]) -> None:
    faces = {
        "door old": make.observation(0, 999, track=1),
        "door new": make.observation(1, 1_000, track=2),
        "hall": make.observation(2, 1_000, camera="hall", track=2),
        "file": make.observation(3, 999, camera="hall", run=FILE),  # received a millisecond later
    }
    found = ErasureFilter([erasure])
    assert [name for name, face in faces.items() if found.covers(Subject.of(face))] == covered


def test_a_track_is_as_old_as_its_first_observation(make: Any) -> None:
    erased = ErasureFilter([Erasure("door", before_ms=1_001)])
    assert erased.covers(Subject.of(make.track(started_ms=1_000, ended_ms=9_000)))
    assert not erased.covers(Subject.of(make.track(started_ms=1_001, ended_ms=9_000)))


def test_states_and_gaps_belong_to_no_erasure(make: Any) -> None:
    everything = ErasureFilter([Erasure(before_ms=10**15), Erasure("door", run="e1")])
    for event in (make.status(), make.loss()):
        assert not everything.covers(Subject.of(event))
        assert not everything.covers(Subject.of_payload(event.to_json().encode()))


def test_a_broken_record_counts_as_old_as_it_may_be() -> None:
    payload = b'{"schema": "undercam.face_observed/9", "camera": "door", "when": 17'
    subject = Subject.of_payload(payload)
    assert ErasureFilter([Erasure("door", before_ms=5)]).covers(subject)
    assert not ErasureFilter([Erasure("hall", before_ms=5)]).covers(subject)
    assert not ErasureFilter([Erasure(before_ms=5)]).covers(subject)
    assert Subject.of_payload(b"{") is None


def test_a_recording_that_was_read_too_early_is_found_by_its_run(make: Any) -> None:
    erased = ErasureFilter([Erasure("door", before_ms=1_000)])
    subjects = [
        Subject.of(make.observation(0, 500, run=FILE)),
        Subject.of(make.observation(0, 1_500, run="ab" * 6)),
        Subject.of(make.observation(0, 500)),
        Subject.of(make.track(run=FILE)),
        None,
    ]
    assert erased.find_recordings(subjects) == {("door", FILE)}
    erased.add(Erasure("door", run=FILE))
    assert erased.find_recordings(subjects) == set()
    assert erased.covers(subjects[3])


def test_nothing_is_covered_without_erasures(make: Any) -> None:
    assert not ErasureFilter()
    assert not ErasureFilter().covers(Subject.of(make.observation(0, 0)))
    assert not ErasureFilter().concerns("door")


@pytest.mark.parametrize("text", ["", "door/e1", "door/x1/1", "Door/e1/1", "door/e1/0", "a/e1/1/2"])
def test_what_is_no_track(text: str) -> None:
    assert parse_track(text) is None
