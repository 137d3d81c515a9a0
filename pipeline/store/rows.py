"""Converts records into rows: one value per column, under the columns' names."""

from __future__ import annotations

from typing import Any

from pipeline.records import (
    CameraStatus,
    DeadLetter,
    EventsLost,
    FaceObserved,
    Probabilities,
    TrackUpdated,
)
from pipeline.store.schema import PROBABILITIES

Row = dict[str, Any]


def observation_row(event: FaceObserved, stored_ms: int) -> Row:
    """The row of `observations`."""
    x0, y0, x1, y1 = event.box
    return {
        "id": event.id,
        "camera": event.camera,
        "run": event.run,
        "track": event.track,
        "frame": event.frame,
        "pts_ms": event.pts_ms,
        "captured_ms": event.captured_ms,
        "clock": event.clock,
        "received_ms": event.received_ms,
        "classified_ms": event.classified_ms,
        "published_ms": event.published_ms,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "detector_score": event.detector_score,
        **_probabilities(event.probabilities),
        "label": event.label,
        "confidence": event.confidence,
        "smoothed_label": event.smoothed.label,
        "smoothed_confidence": event.smoothed.confidence,
        "uncertainty": event.uncertainty,
        "quality_blur": event.quality.blur,
        "quality_luma": event.quality.luma,
        "quality_size_px": event.quality.size_px,
        "model": replace_nul(event.model),
        "mode": replace_nul(event.mode),
        "reason": replace_nul(event.reason),
        "stored_ms": stored_ms,
    }


def track_row(event: TrackUpdated, stored_ms: int) -> Row:
    """The row of `tracks`."""
    return {
        "id": event.id,
        "camera": event.camera,
        "run": event.run,
        "track": event.track,
        "phase": event.phase,
        "seq": event.seq,
        "started_ms": event.started_ms,
        "ended_ms": event.ended_ms,
        "observations": event.observations,
        **_probabilities(event.mean),
        "stored_ms": stored_ms,
    }


def status_row(event: CameraStatus, stored_ms: int) -> Row:
    """The row of `camera_status`."""
    return {
        "id": event.id,
        "camera": event.camera,
        "run": event.run,
        "seq": event.seq,
        "state": event.state,
        "since_ms": event.since_ms,
        "reason": replace_nul(event.reason),
        "fps": event.fps,
        "lag_ms": event.lag_ms,
        "shed": {replace_nul(cause): count for cause, count in event.shed.items()},
        "stored_ms": stored_ms,
    }


def gap_row(event: EventsLost, stored_ms: int) -> Row:
    """The row of `gaps`."""
    return {
        "id": event.id,
        "camera": event.camera,
        "run": event.run,
        "since_ms": event.since_ms,
        "until_ms": event.until_ms,
        "events": event.events,
        "reason": replace_nul(event.reason),
        "stored_ms": stored_ms,
    }


def dead_letter_row(dead_letter: DeadLetter, stored_ms: int) -> Row:
    """The row of `dead_letters`."""
    return {
        "origin": replace_nul(dead_letter.origin),
        "reason": replace_nul(dead_letter.reason),
        "payload": dead_letter.payload,
        "stored_ms": stored_ms,
    }


def _probabilities(probabilities: Probabilities) -> Row:
    return dict(zip(PROBABILITIES, probabilities.values(), strict=True))


def replace_nul(text: str) -> str:
    """Text without NUL, which PostgreSQL's TEXT cannot hold: it would refuse the whole batch."""
    return text.replace("\0", "\ufffd")
