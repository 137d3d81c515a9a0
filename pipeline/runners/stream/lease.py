"""What a camera worker is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.settings import CameraSettings

CONNECTING, ENDED, FAILED, STOPPED = "connecting", "ended", "failed", "stopped"
"""Nothing is known of it yet; a file was read to its end; a stage or a source raised; told to, or
nobody renewed the lease."""


@dataclass(frozen=True)
class Lease:
    """The right to read a camera, for a few seconds at a time; `epoch` is never given twice."""

    camera: str
    epoch: int
    settings: CameraSettings
    quarantined: bool = False

    @property
    def run(self) -> str:
        """The run of a live camera under this lease."""
        return f"e{self.epoch}"


@dataclass(frozen=True)
class Report:
    """How a lease fares.

    `state` as in camera_status, or one of the above; `trouble` is what its outbox suffers from.
    `close_error` says what was lost when it was closed. All three are "" as long as all is well.
    `waiting` counts the events in the outbox.
    """

    lease: Lease
    state: str
    reason: str = ""
    trouble: str = ""
    waiting: int = 0
    close_error: str = ""


@dataclass(frozen=True)
class Heard:
    """A camera process's answer: its `birth`, another one after every restart, and how each of its
    leases fares."""

    birth: str
    reports: list[Report]
