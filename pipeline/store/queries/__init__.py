"""The queries of the dashboard: read-only functions over an Engine, without a clock of their own.

Windows are [since_ms, until_ms), milliseconds UTC. Every result is bounded in size. Each function
raises ServiceError when the database cannot answer.
"""

from __future__ import annotations

from pipeline.store.queries.camera_states import StateInterval, camera_states
from pipeline.store.queries.cameras import CameraOverview, Run, camera_overview, list_runs
from pipeline.store.queries.expressions import (
    Shares,
    Timeline,
    TimelinePoint,
    expression_shares,
    expression_timeline,
)
from pipeline.store.queries.health import (
    GapRow,
    Latency,
    MinuteRows,
    database_bytes,
    dead_letter_count,
    latency,
    recent_gaps,
    rows_per_minute,
)
from pipeline.store.queries.tracks import (
    Observation,
    Track,
    find_track,
    recent_tracks,
    track_observations,
    track_shares,
)

__all__ = [
    "CameraOverview",
    "GapRow",
    "Latency",
    "MinuteRows",
    "Observation",
    "Run",
    "Shares",
    "StateInterval",
    "Timeline",
    "TimelinePoint",
    "Track",
    "camera_overview",
    "camera_states",
    "database_bytes",
    "dead_letter_count",
    "expression_shares",
    "expression_timeline",
    "find_track",
    "latency",
    "list_runs",
    "recent_gaps",
    "recent_tracks",
    "rows_per_minute",
    "track_observations",
    "track_shares",
]
