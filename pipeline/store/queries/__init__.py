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
    choose_bucket,
    expression_shares,
    expression_timeline,
    expression_timelines,
)
from pipeline.store.queries.health import (
    DeadLetterRow,
    GapRow,
    Latency,
    LossTotal,
    MinuteRows,
    ModeUse,
    count_stored,
    database_bytes,
    dead_letter_count,
    latency,
    loss_totals,
    modes_in_use,
    recent_dead_letters,
    recent_gaps,
    rows_per_minute,
)
from pipeline.store.queries.track_search import (
    NEGATIVE,
    FoundTracks,
    TrackFilter,
    TrackSummary,
    count_tracks,
    find_totals,
    find_tracks,
    list_modes,
    search_tracks,
)
from pipeline.store.queries.tracks import (
    Observation,
    Track,
    find_track,
    track_observations,
    track_shares,
)

__all__ = [
    "NEGATIVE",
    "CameraOverview",
    "DeadLetterRow",
    "FoundTracks",
    "GapRow",
    "Latency",
    "LossTotal",
    "MinuteRows",
    "ModeUse",
    "Observation",
    "Run",
    "Shares",
    "StateInterval",
    "Timeline",
    "TimelinePoint",
    "Track",
    "TrackFilter",
    "TrackSummary",
    "camera_overview",
    "camera_states",
    "choose_bucket",
    "count_stored",
    "count_tracks",
    "database_bytes",
    "dead_letter_count",
    "expression_shares",
    "expression_timeline",
    "expression_timelines",
    "find_totals",
    "find_track",
    "find_tracks",
    "latency",
    "list_modes",
    "list_runs",
    "loss_totals",
    "modes_in_use",
    "recent_dead_letters",
    "recent_gaps",
    "rows_per_minute",
    "search_tracks",
    "track_observations",
    "track_shares",
]
