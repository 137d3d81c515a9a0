"""The records on the wire and in SQL: what everyone downstream may rely on.

Times are integer milliseconds UTC, up to the end of the year 9999. Every string has a maximum
length, so that any database can index it and any broker takes the record. Ids are functions of the
input, so a resent record is the same record.

Outboxes and topics outlive a release, so a changed field is a new version: raise the number in the
class's schema, and add a function to `LIFTS` that turns a record of the version before into one of
the next. `pipeline.messages` reads every version that way; a writer writes the newest.
`docs/schemas` holds each version as JSON Schema, with lines that a writer of it wrote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    shorten,
)

__all__ = [
    "CAMERA_PATTERN",
    "EVENT_TYPES",
    "LIFTS",
    "MOST",
    "CameraId",
    "CameraStatus",
    "DeadLetter",
    "Event",
    "EventsLost",
    "FaceObserved",
    "Label",
    "Probabilities",
    "Quality",
    "Record",
    "RunId",
    "Smoothed",
    "TrackUpdated",
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

    @classmethod
    def schema_name(cls) -> str:
        """The kind and newest version of the record: "undercam.face_observed/2"."""
        name: str = cls.model_fields["schema_"].default
        return name


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
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown"
]
assert set(Label.__args__) == {*EMOTIONS, UNKNOWN}  # type: ignore[attr-defined]


class Smoothed(Record):
    """What the track shows by now: the weighted mean of its observations up to this one."""

    label: Label
    confidence: Share


class Quality(Record):
    """How good the image of the face was: `blur` 0 sharp .. 1 blurred, `luma` 0 black .. 1 white,
    `size_px` the side of its box."""

    blur: Share
    luma: Share
    size_px: Annotated[float, Field(ge=0)]


class FaceObserved(Record):
    """One classified face in one frame.

    `answered`: whether a classifier answered in time. Where none did, `probabilities` are equal,
    `label` is unknown and `reason` says why.
    """

    schema_: Literal["undercam.face_observed/2"] = Field(
        default="undercam.face_observed/2", alias="schema"
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
    answered: bool
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

    A loss that grows keeps its id: of the records of one id, that with the most events counts.
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
        reserved for what lies on the disk of a lost machine."""
        return f"gap:{camera}:{run}:{number}"


Event = FaceObserved | TrackUpdated | CameraStatus | EventsLost
"""Any record: what was observed, the state of a camera, and what is known to be missing."""
EVENT_TYPES: tuple[type[Event], ...] = (FaceObserved, TrackUpdated, CameraStatus, EventsLost)

Lift = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Turns the fields of a record of one version into those of the next, but for `schema`. It takes
any JSON object and never raises: the record is validated once it is of the newest version."""
UNANSWERED_1 = "no answer from the emotion pool in "
"""How the reason begins, in version 1, of a face that no classifier answered."""


def _lift_face_observed_1(fields: Mapping[str, Any]) -> dict[str, Any]:
    # Version 1 says it in words only. A real answer of the label `unknown` has another reason.
    unanswered = str(fields.get("reason", "")).startswith(UNANSWERED_1)
    return {**fields, "answered": not unanswered}


LIFTS: dict[str, dict[int, Lift]] = {"face_observed": {1: _lift_face_observed_1}}
"""By kind and version: the step to the next version. Every version below the newest has one."""


@dataclass(frozen=True)
class DeadLetter:
    """A record that cannot be stored: its bytes as they came, and why.

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
        object.__setattr__(self, "reason", shorten(self.reason))

    @classmethod
    def of(cls, event: Event, reason: str) -> DeadLetter:
        """Of a readable record that a database or broker refuses."""
        return cls(event.id, reason, event.to_json().encode())

    def cut(self, most: int) -> DeadLetter:
        """The same with the first `most` bytes of its payload; the reason tells the whole size.

        With none of them the reason is cut to a line too.
        """
        size = len(self.payload)
        if size <= most and most:
            return self
        note = f" (the first {most} of {size} bytes)" if most else f" (without its {size} bytes)"
        reason = shorten(self.reason, REASON_CHARS - len(note) if most else 80)
        return DeadLetter(self.origin, reason + note, self.payload[:most])
