"""What a camera shows now, in one small message, from its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from models.emotions import UNKNOWN
from pipeline.camera_states import CONNECTING, VIDEO_STATES, from_record
from pipeline.records import CameraStatus, Event, FaceObserved, TrackUpdated

NO_FACE = "no face"


@dataclass
class CameraSummary:
    """The faces in view of one camera and its state, as its records say.

    A face is in view from its first observation to the end of its track, or until the camera is no
    longer seen.
    """

    state: str = CONNECTING
    reason: str = ""
    updated_ms: int = 0
    _faces: dict[int, tuple[str, float]] = field(default_factory=dict)

    def add(self, events: Iterable[Event]) -> None:
        """Take the records of a frame, in order."""
        for event in events:
            match event:
                case FaceObserved():
                    smoothed = event.smoothed
                    self._faces[event.track] = (smoothed.label, smoothed.confidence)
                    self.updated_ms = event.captured_ms
                case TrackUpdated(phase="end"):
                    self._faces.pop(event.track, None)
                case CameraStatus():
                    self.state, self.reason = from_record(event.state, event.run, event.reason)
                    if self.state not in VIDEO_STATES:
                        self._faces.clear()

    def message(self) -> dict[str, Any]:
        """The payload of the camera's topic.

        `label`: the one that most faces have, of several the one with the highest confidence,
        `unknown` only where no face has another; `no face` where there is none. `confidence`: the
        mean of the faces that have it, 0..1. `faces` in view, `unknown` of them; `labels`: how many
        faces have which.
        """
        counts = Counter(label for label, _ in self._faces.values())
        label, confidence = NO_FACE, 0.0
        if counts:
            label = max(counts, key=self._rank)
            found = [share for one, share in self._faces.values() if one == label]
            confidence = sum(found) / len(found)
        return {
            "label": label,
            "confidence": round(confidence, 3),
            "faces": len(self._faces),
            "unknown": counts[UNKNOWN],
            "labels": dict(sorted(counts.items())),
            "state": self.state,
            "reason": self.reason,
            "captured": _to_iso(self.updated_ms) if self.updated_ms else None,
        }

    def _rank(self, label: str) -> tuple[bool, int, float]:
        found = [share for one, share in self._faces.values() if one == label]
        return label != UNKNOWN, len(found), max(found)


def _to_iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
