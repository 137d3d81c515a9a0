"""What a camera worker is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.camera_states import FAILED, STOPPED, CameraState
from pipeline.settings import CameraSettings


@dataclass(frozen=True)
class Lease:
    """The right to read a camera, for a few seconds at a time; `epoch` is never given twice.

    `before` is how the camera stood when it was given, where it is tried again.
    """

    camera: str
    epoch: int
    settings: CameraSettings
    quarantined: bool = False
    before: CameraState | None = None

    @property
    def run(self) -> str:
        """The run of a live camera under this lease."""
        return f"e{self.epoch}"


@dataclass(frozen=True)
class Report:
    """The state of a lease.

    `state` is one of `pipeline.camera_states`, held since `since_ms`; `trouble` is what its outbox
    suffers from, and `close_error` what was lost when it was closed. All three sentences are ""
    as long as all is well. `waiting` counts the events in the outbox; `is_closed`: the run is over,
    though the state alone does not say so.
    """

    lease: Lease
    state: str
    reason: str = ""
    trouble: str = ""
    waiting: int = 0
    since_ms: int = 0
    is_closed: bool = False
    close_error: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the run has let go of its camera, and another one is to try."""
        return self.is_closed or self.state in (FAILED, STOPPED)


@dataclass(frozen=True)
class Heartbeat:
    """A camera process's answer: its `birth`, another one after every restart, and how each of its
    leases fares."""

    birth: str
    reports: list[Report]
