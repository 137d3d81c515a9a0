"""The records on the wire and in SQL: what everyone downstream may rely on.

Times are integer milliseconds UTC, up to the end of the year 9999. Every string has a maximum
length, so that any database can index it and any broker takes the record. Ids are functions of the
input, so a resent record is the same record. Changing a field is a new schema version;
`docs/schemas` holds each as JSON Schema.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from models.emotions import EMOTIONS, UNKNOWN
from pipeline.fields import (
    CAMERA_PATTERN,
    MOST,
    ORIGIN_CHARS,
    REASON_CHARS,
    CameraId,
    Cause,
    Count,
    Id,
    Milliseconds,
    Name,
    Reason,
    RunId,
    Share,
    shortened,
)

__all__ = [
    "CAMERA_PATTERN",
    "EVENT_TYPES",
    "MOST",
    "CameraId",
    "CameraStatus",
    "DeadLetter",
    "Event",
    "EventsLost",
    "FaceObserved",
    "Label",
    "Mail",
    "Probabilities",
    "Quality",
    "Record",
    "RunId",
    "Smoothed",
    "TrackUpdated",
    "read_record",
]


class Record(BaseModel):
    """Closed, immutable, finite: an unknown field is an error, and JSON knows no infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,
    )

    def to_json(self) -> str:
        """One line of JSON with the field names of the schema."""
        return self.model_dump_json(by_alias=True)


class Probabilities(Record):
    """One number per expression, in the order of `models.emotions.EMOTIONS`; they sum to 1."""

    neutral: Share
    happiness: Share
    surprise: Share
    sadness: Share
    anger: Share
    disgust: Share
    fear: Share
    contempt: Share

    @classmethod
    def of(cls, values: list[float]) -> Probabilities:
        """From eight floats in the order of EMOTIONS, rounded to six digits."""
        rounded = (round(min(max(float(value), 0.0), 1.0), 6) for value in values)
        return cls(**dict(zip(EMOTIONS, rounded, strict=True)))

    def values(self) -> list[float]:
        """The eight floats in the order of EMOTIONS."""
        return [getattr(self, name) for name in EMOTIONS]


Label = Literal[
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
]
assert set(Label.__args__) == {*EMOTIONS, UNKNOWN}  # type: ignore[attr-defined]


class Smoothed(Record):
    """What the track shows by now: the weighted looks up to this one."""

    label: Label
    confidence: Share


class Quality(Record):
    """How good the look was: `blur` 0 sharp .. 1 blurred, `luma` 0 black .. 1 white, `size_px` box
    side."""

    blur: Share
    luma: Share
    size_px: Annotated[float, Field(ge=0)]


class FaceObserved(Record):
    """One look at one face."""

    schema_: Literal["undercam.face_observed/1"] = Field(
        default="undercam.face_observed/1", alias="schema"
    )
    id: Id
    camera: CameraId
    run: RunId
    track: Annotated[int, Field(ge=1, le=MOST)]
    frame: Count
    pts_ms: Annotated[int, Field(ge=-MOST, le=MOST)]
    captured_ms: Milliseconds
    clock: Literal["rtcp", "arrival", "media"]
    received_ms: Milliseconds
    classified_ms: Milliseconds
    published_ms: Milliseconds
    box: tuple[Share, Share, Share, Share]
    detector_score: Share
    probabilities: Probabilities
    label: Label
    confidence: Share
    smoothed: Smoothed
    uncertainty: Share
    quality: Quality
    model: Name
    mode: Name
    reason: Reason = ""

    @staticmethod
    def make_id(camera: str, run: str, track: int, frame: int) -> str:
        """The observation's id."""
        return f"obs:{camera}:{run}:{track}:{frame}"


class TrackUpdated(Record):
    """A face's track began, went on, or ended. The same id each time; the highest `seq` counts."""

    schema_: Literal["undercam.track_updated/1"] = Field(
        default="undercam.track_updated/1", alias="schema"
    )
    id: Id
    camera: CameraId
    run: RunId
    track: Annotated[int, Field(ge=1, le=MOST)]
    phase: Literal["start", "update", "end"]
    seq: Count
    started_ms: Milliseconds
    ended_ms: Milliseconds
    observations: Count
    mean: Probabilities

    @staticmethod
    def make_id(camera: str, run: str, track: int) -> str:
        """The track's id."""
        return f"trk:{camera}:{run}:{track}"


class CameraStatus(Record):
    """The state of a camera, with its pace and everything it had to drop, by cause."""

    schema_: Literal["undercam.camera_status/1"] = Field(
        default="undercam.camera_status/1", alias="schema"
    )
    id: Id
    camera: CameraId
    run: RunId
    seq: Count
    state: Literal["online", "offline", "lagging", "refused", "quarantined"]
    since_ms: Milliseconds
    reason: Reason = ""
    fps: Annotated[float, Field(ge=0)]
    lag_ms: Milliseconds
    shed: Annotated[dict[Cause, Count], Field(max_length=32)]

    @staticmethod
    def make_id(camera: str, run: str, seq: int) -> str:
        """The status's id."""
        return f"cam:{camera}:{run}:{seq}"


class EventsLost(Record):
    """`events` events of a run, captured from since_ms to until_ms, are missing.

    A loss that grows keeps its id; of its tellings the one with the most events counts.
    """

    schema_: Literal["undercam.events_lost/1"] = Field(
        default="undercam.events_lost/1", alias="schema"
    )
    id: Id
    camera: CameraId
    run: RunId
    since_ms: Milliseconds
    until_ms: Milliseconds
    events: Count
    reason: Reason

    @staticmethod
    def make_id(camera: str, run: str, number: int) -> str:
        """The loss's id. An outbox numbers its losses by the time they began, in milliseconds; 0 is
        kept for what lies on a lost machine, which nobody tells yet."""
        return f"gap:{camera}:{run}:{number}"


Event = FaceObserved | TrackUpdated | CameraStatus | EventsLost
"""Anything that a camera says, or that is said of what it said."""
EVENT_TYPES: tuple[type[FaceObserved], type[TrackUpdated], type[CameraStatus], type[EventsLost]] = (
    FaceObserved,
    TrackUpdated,
    CameraStatus,
    EventsLost,
)


@dataclass(frozen=True)
class DeadLetter:
    """A record that cannot be stored: as it came, and why.

    `origin` is its place in bus or outbox, or its id where it can be read; a long one ends in its
    digest, so that it stays the only one of its kind. A long reason is cut.
    """

    origin: str
    reason: str
    payload: bytes

    def __post_init__(self) -> None:
        if len(self.origin) > ORIGIN_CHARS:
            digest = hashlib.sha256(self.origin.encode(errors="replace")).hexdigest()
            kept = self.origin[: ORIGIN_CHARS - len(digest) - 1]
            object.__setattr__(self, "origin", f"{kept}:{digest}")
        object.__setattr__(self, "reason", shortened(self.reason))

    @classmethod
    def of(cls, event: Event, reason: str) -> DeadLetter:
        """A readable record that someone refuses."""
        return cls(event.id, reason, event.to_json().encode())

    def cut(self, most: int) -> DeadLetter:
        """The same with the first `most` bytes of its payload, and a word on how many there were.

        With none of them the reason is cut to a line too.
        """
        size = len(self.payload)
        if size <= most and most:
            return self
        note = f" (the first {most} of {size} bytes)" if most else f" (without its {size} bytes)"
        reason = shortened(self.reason, REASON_CHARS - len(note) if most else 80)
        return DeadLetter(self.origin, reason + note, self.payload[:most])


Mail = Event | DeadLetter
"""What travels from outbox to bus and store."""
_ANY_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="schema_")])


def read_record(payload: bytes, origin: str) -> Mail:
    """The record in one line of JSON, or the dead letter that says why it is none."""
    try:
        return _ANY_EVENT.validate_json(payload)
    except ValidationError as error:
        (first, *_) = error.errors(include_url=False, include_context=False, include_input=False)
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        return DeadLetter(origin, reason, payload)
