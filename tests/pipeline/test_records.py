"""Records: nothing is lost on the wire, nothing unknown gets in, nothing changes once written."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from models.emotions import EMOTIONS
from pipeline.fields import LAST_MS, ORIGIN_CHARS, REASON_CHARS, shorten
from pipeline.messages import read_record
from pipeline.records import (
    CAMERA_PATTERN,
    EVENT_TYPES,
    MOST,
    CameraId,
    CameraStatus,
    DeadLetter,
    Event,
    EventsLost,
    FaceObserved,
    Probabilities,
    Quality,
    Record,
    RunId,
    TrackUpdated,
)

shares = st.floats(0, 1)
times = st.integers(0, LAST_MS)
counts = st.integers(0, MOST)
cameras = st.from_regex(CAMERA_PATTERN, fullmatch=True)
runs = st.from_regex(r"^([0-9a-f]{12}|e[0-9]{1,31})$", fullmatch=True)
mixtures = st.builds(Probabilities, **dict.fromkeys(EMOTIONS, shares))
fields = {
    "camera": cameras,
    "run": runs,
    "track": st.integers(1, MOST),
    "seq": counts,
    "frame": counts,
    "started_ms": times,
    "ended_ms": times,
    "since_ms": times,
    "until_ms": times,
    "events": counts,
    "captured_ms": times,
    "received_ms": times,
    "classified_ms": times,
    "published_ms": times,
    "lag_ms": times,
    "observations": counts,
    "box": st.tuples(shares, shares, shares, shares),
    "detector_score": shares,
    "confidence": shares,
    "uncertainty": shares,
    "answered": st.booleans(),
    "quality": st.builds(Quality, blur=shares, luma=shares, size_px=st.floats(0, 1e5)),
    "fps": st.floats(0, 1e6),
    "shed": st.dictionaries(st.text(max_size=64), counts, max_size=32),
    "mean": mixtures,
    "probabilities": mixtures,
}


def events(kind: type[Event]) -> st.SearchStrategy[Event]:
    known = {name: fields[name] for name in kind.model_fields if name in fields}
    return st.builds(kind, **known)


anything = st.one_of([events(kind) for kind in EVENT_TYPES])


def a_status(**changes: Any) -> CameraStatus:
    status: dict[str, Any] = {
        "id": "cam:door:e1:0",
        "camera": "door",
        "run": "e1",
        "seq": 0,
        "state": "online",
        "since_ms": 1,
        "fps": 25.0,
        "lag_ms": 2,
        "shed": {"stale": 3},
    }
    return CameraStatus(**(status | changes))


@given(anything)
def test_a_record_survives_the_wire(event: Event) -> None:
    line = event.to_json()
    assert "\n" not in line
    assert type(event).model_validate_json(line) == event
    assert type(event).model_validate_json(line).to_json() == line


@given(anything)
def test_any_record_is_read_as_its_own_kind(event: Event) -> None:
    assert read_record(event.to_json().encode(), "outbox/1") == event
    refused = DeadLetter.of(event, "too large")
    assert read_record(refused.payload, refused.origin) == event


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "Invalid JSON: EOF"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "should be an object"),
        (b"{}", "discriminator 'schema_' | 'schema'"),
        (b'{"schema": "undercam.face_observed/0"}', "Input tag 'undercam.face_observed/0'"),
        (b'{"schema": "undercam.face_observed/2"}', "undercam.face_observed/2.id: Field required"),
        (b'{"schema_": "undercam.face_observed/1"}', "Input tag 'undercam.face_observed/1'"),
        (b'{"schema": "undercam.face_observed/1"}', "undercam.face_observed/2.id: Field required"),
        (b'{"schema": "undercam.face_observed/1", "pts_ms": NaN}', "Field required"),
        (b'{"schema": "undercam.face_observed/1", "reason": 7}', "Field required"),
        (b'{"schema": "undercam.events_lost/1"}', "undercam.events_lost/1.id: Field required"),
        (a_status().to_json().replace('"door"', '"Door"').encode(), "camera_status/1.camera"),
    ],
    ids=str,
)
def test_what_is_no_record_is_a_dead_letter(payload: bytes, reason: str) -> None:
    read = read_record(payload, "undercam.cameras/0/17")
    assert isinstance(read, DeadLetter)
    assert (read.origin, read.payload) == ("undercam.cameras/0/17", payload)
    assert reason in read.reason


@given(anything)
def test_only_its_own_kind_reads_a_record(event: Event) -> None:
    line = event.to_json()
    for kind in EVENT_TYPES:
        if kind is not type(event):
            with pytest.raises(ValidationError):
                kind.model_validate_json(line)


@given(anything, st.text(min_size=1))
def test_an_unknown_field_is_refused(event: Event, field: str) -> None:
    written = json.loads(event.to_json())
    if field not in written and field not in type(event).model_fields:
        with pytest.raises(ValidationError, match="extra_forbidden"):
            type(event).model_validate(written | {field: 1})


@given(anything)
def test_a_record_cannot_be_changed(event: Event) -> None:
    for field in type(event).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(event, field, None)


def test_ids_are_functions_of_the_input() -> None:
    assert FaceObserved.make_id("door", "e1", 7, 30) == "obs:door:e1:7:30"
    assert TrackUpdated.make_id("door", "0123456789ab", 7) == "trk:door:0123456789ab:7"
    assert CameraStatus.make_id("door", "e1", 2) == "cam:door:e1:2"
    assert EventsLost.make_id("door", "e1", 1) == "gap:door:e1:1"


@given(cameras, runs, st.tuples(counts, counts), cameras, runs, st.tuples(counts, counts))
def test_two_looks_never_share_an_id(
    camera: str, run: str, place: tuple[int, int], other: str, later: str, there: tuple[int, int]
) -> None:
    same = (camera, run, place) == (other, later, there)
    assert (
        FaceObserved.make_id(camera, run, *place) == FaceObserved.make_id(other, later, *there)
    ) is same


@given(st.text())
@example("door\n")
@example("Door")
@example("../etc")
@example("door:1")
@example("-door")
@example("a" * 64)
@example("döor")
@example("٣")
def test_camera_names_are_the_pattern_and_nothing_else(name: str) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(CameraId)
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name):
        assert adapter.validate_python(name) == name
    else:
        with pytest.raises(ValidationError):
            adapter.validate_python(name)


@given(cameras)
def test_good_camera_names_are_kept_as_they_are(name: str) -> None:
    assert a_status(camera=name).camera == name


@pytest.mark.parametrize(
    "run", ["", "e", "E1", "e1 ", "e1\n", "0123456789AB", "0123456789abc", "e٣", "e" + "1" * 32]
)
def test_bad_runs_are_refused(run: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(RunId).validate_python(run)


@pytest.mark.parametrize(
    "change",
    [
        {"fps": math.inf},
        {"fps": math.nan},
        {"fps": -1.0},
        {"since_ms": -1},
        {"since_ms": 1.5},
        {"shed": {"stale": -1}},
        {"state": "fine"},
        {"since_ms": LAST_MS + 1},
        {"lag_ms": LAST_MS + 1},
        {"reason": "x" * 1001},
        {"id": "x" * 161},
        {"shed": {"x" * 65: 1}},
        {"shed": {str(n): n for n in range(33)}},
    ],
    ids=str,
)
def test_impossible_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        a_status(**change)


@given(st.lists(st.floats(1e-3, 1), min_size=8, max_size=8))
def test_probabilities_keep_order_and_sum(weights: list[float]) -> None:
    values = [weight / sum(weights) for weight in weights]
    written = Probabilities.of(values)
    assert written.values() == pytest.approx(values, abs=1e-6)
    assert sum(written.values()) == pytest.approx(1, abs=8e-6)
    assert [getattr(written, name) for name in EMOTIONS] == written.values()


def test_probabilities_need_all_eight_and_clip_rounding_errors() -> None:
    assert Probabilities.of([1 + 1e-7, -1e-7, 0, 0, 0, 0, 0, 0]).values() == [
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]
    with pytest.raises(ValueError, match="shorter"):
        Probabilities.of([1.0] * 7)
    with pytest.raises(ValueError, match="longer"):
        Probabilities.of([0.1] * 9)
    with pytest.raises(ValidationError):
        Probabilities.of([math.nan] * 8)


def test_a_number_that_no_database_holds_is_refused() -> None:
    assert a_status(seq=MOST).seq == MOST
    with pytest.raises(ValidationError, match="less than or equal to 9007199254740991"):
        a_status(seq=MOST + 1)


def unbounded(place: Any, path: str = "") -> list[str]:
    """The strings of a JSON Schema without a greatest length, the keys of dictionaries too."""
    if isinstance(place, list):
        return [found for one in place for found in unbounded(one, path)]
    if not isinstance(place, dict):
        return []
    here = []
    if place.get("type") == "string" and not {"maxLength", "enum", "const"} & place.keys():
        here = [path]
    if isinstance(place.get("additionalProperties"), dict):
        here = [] if "maxLength" in place.get("propertyNames", {}) else [f"{path}: its keys"]
    return here + [f for key, one in place.items() for f in unbounded(one, f"{path}/{key}")]


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_string_has_a_greatest_length(kind: type[Event]) -> None:
    """So says the schema, of each string that is not one of a few."""
    assert unbounded(kind.model_json_schema(by_alias=True)) == []


def test_a_string_without_a_greatest_length_is_seen() -> None:
    class Part(Record):
        text: str

    class Whole(Record):
        kind: Literal["a", "b"]
        part: Part
        notes: tuple[str, ...]
        shed: dict[str, int]

    assert unbounded(Whole.model_json_schema()) == [
        "/$defs/Part/properties/text",
        "/properties/notes/items",
        "/properties/shed: its keys",
    ]


def test_times_end_with_the_year_9999() -> None:
    assert datetime.fromtimestamp(LAST_MS / 1000, UTC).year == 9999
    payload = a_status(since_ms=LAST_MS).to_json().encode()
    assert read_record(payload, "o") == a_status(since_ms=LAST_MS)
    late = payload.replace(str(LAST_MS).encode(), str(LAST_MS + 1).encode())
    for broken in (late, payload.replace(str(LAST_MS).encode(), b"-1")):
        read = read_record(broken, "o")
        assert isinstance(read, DeadLetter)
        assert read.reason.startswith("undercam.camera_status/1.since_ms: Input should be ")
    assert "less than or equal to 253402300799999" in read_record(late, "o").reason  # type: ignore[union-attr]


@given(st.text() | st.text(min_size=900, max_size=1200))
def test_a_shortened_text_fits(text: str) -> None:
    short = shorten(text)
    assert a_status(reason=short).reason == short
    assert len(short) <= REASON_CHARS
    assert short == text or len(text) > REASON_CHARS


def test_half_a_surrogate_pair_is_no_character() -> None:
    assert a_status(reason=shorten("no file \udcff.mp4")).reason == "no file ?.mp4"


def test_dead_letters_are_bounded_and_stay_different() -> None:
    one, other = (DeadLetter("o" * 3000 + end, "r" * 9000, b"p" * 99) for end in "ab")
    assert len(one.origin) == len(other.origin) == ORIGIN_CHARS
    assert one.origin != other.origin
    assert one == DeadLetter("o" * 3000 + "a", "r" * 9000, b"p" * 99)
    assert len(one.reason) <= REASON_CHARS
    assert one.reason.endswith("... (9000 characters)")
    cut = one.cut(10)
    assert (cut.origin, cut.payload) == (one.origin, b"p" * 10)
    assert cut.reason.endswith(" (the first 10 of 99 bytes)")
    assert len(cut.reason) <= REASON_CHARS
    assert one.cut(99) is one
    assert len(one.cut(0).reason) < 120
    assert one.cut(0).payload == b""
