"""What a supervisor gives a camera worker, and what the worker reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.camera_states import FAILED, STOPPED, CameraState
from pipeline.settings import CameraSettings

CAMERAS = "cameras-"
"""How the names of camera processes begin."""


@dataclass(frozen=True)
class Lease:
    """The right to read a camera, for a few seconds at a time; no `epoch` is ever given twice.

    `before` is the camera's state when the lease was given, where the camera is tried again.
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

    `state` is one of `pipeline.camera_states`, held since `since_ms`, for the `reason`; `trouble`
    is the fault of its outbox, and `close_error` what was lost when that was closed. All three
    sentences are "" while all is well. `waiting` counts the events in the outbox, `appended` the
    observations and statuses that a live camera has appended to it so far; `is_closed`: the run is
    over, though the state alone does not say so.
    """

    lease: Lease
    state: str
    reason: str = ""
    trouble: str = ""
    waiting: int = 0
    since_ms: int = 0
    is_closed: bool = False
    close_error: str = ""
    appended: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the run has released its camera, and another run is to be tried."""
        return self.is_closed or self.state in (FAILED, STOPPED)


@dataclass(frozen=True)
class Heartbeat:
    """A camera process's answer: its `incarnation`, a new one after every restart, a report of each
    lease that it holds, and the `machine` of a cluster on whose disk its outboxes are."""

    incarnation: str
    reports: list[Report]
    machine: str = ""


@dataclass(frozen=True)
class FleetReport:
    """The reports of camera processes, by name; one that neither answered nor died is late.
    `failed`: why some could not start."""

    reports: Mapping[str, Sequence[Report]] = field(default_factory=dict)
    died: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)


class Fleet(Protocol):
    """The camera processes there are, each known by its name. No call waits for long."""

    def names(self) -> Sequence[str]:
        """All of them."""
        ...

    def group_of(self, settings: CameraSettings) -> str:
        """How the names of the processes begin that may read such a camera."""
        ...

    def start(self, name: str) -> None:
        """Start one more; its group decides on which machine."""
        ...

    def stop(self, name: str) -> None:
        """End one, whatever it does."""
        ...

    def reports(self) -> FleetReport:
        """The reports of all; no lease changes."""
        ...

    def heartbeat(self, leases: Mapping[str, Sequence[Lease]]) -> FleetReport:
        """Send each its leases. One that died is there again, without any, at the next call."""
        ...
