"""How everything that runs fares, as its supervisor last heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.live.leases import Report
from pipeline.live.relay_service import RelayReport


@dataclass(frozen=True)
class State:
    """How cameras and relays fare, by name; what keeps the roster from being read; where the
    numbers are, and how often a camera process died; what was lost when outboxes were closed."""

    cameras: Mapping[str, Report] = field(default_factory=dict)
    relays: Mapping[str, RelayReport] = field(default_factory=dict)
    trouble: str = ""
    metrics_url: str = ""
    deaths: int = 0
    close_errors: tuple[str, ...] = ()
