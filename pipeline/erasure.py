"""What was erased for ever, and whether a record belongs to it.

A live camera's record is as old as its capture. A recording counts as a whole, by its run: times in
its records are positions in the file, so it is as old as its reading. States of cameras and gaps
say nothing about a face and belong to no erasure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.camera_names import check_camera_name
from pipeline.errors import ConfigError
from pipeline.records import CAMERA_PATTERN, Event, FaceObserved, TrackUpdated

_RECORDING = re.compile(r"[0-9a-f]{12}")
_TRACK = re.compile(rf"(?:trk:)?({CAMERA_PATTERN[1:-1]})[:/]([0-9a-f]{{12}}|e[0-9]+)[:/]([1-9]\d*)")
_FIELD = re.compile(
    rb'"(schema|camera|run|track|captured_ms|started_ms|received_ms)"\s*:\s*"?([^",}\]\s]*)'
)
_WITHOUT_FACE = (b"undercam.camera_status/", b"undercam.events_lost/")


@dataclass(frozen=True)
class Erasure:
    """What somebody had erased at `requested_ms` (UTC): one track by its id, one run, or everything
    captured before `before_ms`, of one camera or of all. `run`, with its camera, is a recording."""

    camera: str | None = None
    track: str | None = None
    before_ms: int | None = None
    requested_ms: int = 0
    run: str | None = None


class Subject(NamedTuple):
    """Whose face a record is about, and since when: None where the record does not tell."""

    camera: str
    run: str
    track: int
    captured_ms: int | None
    received_ms: int | None

    @classmethod
    def of(cls, event: Event) -> Subject | None:
        """Of a record; None of one that says nothing about a face."""
        match event:
            case FaceObserved():
                place = event.camera, event.run, event.track
                return cls(*place, event.captured_ms, event.received_ms)
            case TrackUpdated():
                return cls(event.camera, event.run, event.track, event.started_ms, None)
        return None

    @classmethod
    def of_payload(cls, payload: bytes) -> Subject | None:
        """Of a record's bytes, of any version, also broken ones, as far as they tell."""
        fields: dict[bytes, bytes] = {}
        for found in _FIELD.finditer(payload):
            fields.setdefault(found[1], found[2])
        if b"camera" not in fields or fields.get(b"schema", b"").startswith(_WITHOUT_FACE):
            return None
        camera, run = (
            fields.get(name, b"").decode(errors="replace") for name in (b"camera", b"run")
        )
        captured = fields.get(b"captured_ms", fields.get(b"started_ms", b""))
        received = fields.get(b"received_ms", b"")
        return cls(
            camera,
            run,
            _number(fields.get(b"track", b"")) or 0,
            *map(_number, (captured, received)),
        )


class ErasureFilter:
    """Tells what erasures cover, in constant time however many they are; false without any."""

    def __init__(self, erasures: Iterable[Erasure] = ()) -> None:
        self._tracks: set[str] = set()
        self._runs: set[tuple[str, str]] = set()
        self._before: dict[str | None, int] = {}
        for erasure in erasures:
            self.add(erasure)

    def __bool__(self) -> bool:
        return bool(self._tracks or self._runs or self._before)

    def add(self, erasure: Erasure) -> None:
        """One more."""
        if erasure.track is not None:
            self._tracks.add(erasure.track)
        elif erasure.run is not None:
            self._runs.add((erasure.camera or "", erasure.run))
        else:
            before_ms = erasure.requested_ms if erasure.before_ms is None else erasure.before_ms
            known = self._before.get(erasure.camera, before_ms)
            self._before[erasure.camera] = max(known, before_ms)

    def covers(self, subject: Subject | None) -> bool:
        """Whether a record about it was erased, or belongs to what was."""
        if subject is None:
            return False
        camera, run, track, captured_ms, received_ms = subject
        if (camera, run) in self._runs or TrackUpdated.make_id(camera, run, track) in self._tracks:
            return True
        if is_recording(run):
            return received_ms is not None and received_ms < self._before_of(camera)
        if captured_ms is None:  # broken: it may be older
            return camera in self._before
        return captured_ms < self._before_of(camera)

    def find_recordings(self, subjects: Iterable[Subject | None]) -> set[tuple[str, str]]:
        """(camera, run) of recordings that were read too early to be kept, and are not known by
        their run yet: all of their records are to be erased, also those that tell no time."""
        return {
            (subject.camera, subject.run)
            for subject in subjects
            if subject
            and is_recording(subject.run)
            and (subject.camera, subject.run) not in self._runs
            and subject.received_ms is not None
            and subject.received_ms < self._before_of(subject.camera)
        }

    def concerns(self, camera: str) -> bool:
        """Whether any of it may be about a camera."""
        tracks = any(track.startswith(f"trk:{camera}:") for track in self._tracks)
        runs = any(camera == of for of, _ in self._runs)
        return tracks or runs or self._before_of(camera) >= 0

    def _before_of(self, camera: str) -> int:
        return max(self._before.get(None, -1), self._before.get(camera, -1))


def is_recording(run: str) -> bool:
    """Whether a run is a file's, whose times are positions in it.

    >>> is_recording("0123456789ab"), is_recording("e1700000000000")
    (True, False)
    """
    return _RECORDING.fullmatch(run) is not None


def make_erasure(
    now_ms: int,
    *,
    track: str | None = None,
    camera: str | None = None,
    before_ms: int | None = None,
) -> Erasure:
    """The erasure of one track, or of a camera, or of all cameras, up to a time: by default now.

    Raises ConfigError for what is none.
    """
    names_are_text = all(isinstance(name, str | None) for name in (track, camera))
    if not (names_are_text and isinstance(before_ms, int | None)):
        raise ConfigError("not an erasure", "erasure", "give track and camera as text, times in ms")
    if track:
        if camera or before_ms is not None:
            raise ConfigError("a track stands alone", track, "leave camera and time out")
        found = parse_track(track)
        if found is None:
            remedy = "give CAMERA/RUN/NUMBER, such as door/e1764000000000/3, or the id of a track"
            raise ConfigError("not a track", track, remedy)
        return Erasure(track=TrackUpdated.make_id(*found), requested_ms=now_ms)
    if camera:
        check_camera_name(camera)
    elif before_ms is None:
        raise ConfigError("nothing to erase", "erasure", "give a track, a camera or a time")
    until_ms = now_ms if before_ms is None else before_ms
    if not 0 <= until_ms <= now_ms:
        remedy = "what is still to come cannot be erased" if until_ms > now_ms else "give UTC"
        raise ConfigError("not a time in the past", f"{until_ms} ms", remedy)
    return Erasure(camera or None, before_ms=until_ms, requested_ms=now_ms)


def parse_track(text: str) -> tuple[str, str, int] | None:
    """Camera, run and number of a track from its id, also with slashes; None for anything else.

    >>> parse_track("door/e7/3"), parse_track("trk:door:e7:3"), parse_track("door")
    (('door', 'e7', 3), ('door', 'e7', 3), None)
    """
    found = _TRACK.fullmatch(text)
    return (found[1], found[2], int(found[3])) if found else None


def _number(digits: bytes) -> int | None:
    return int(digits) if digits.isdigit() and len(digits) < 20 else None
