"""The viewer's selection: a camera and a time range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import streamlit as st

from dashboard.database import now_ms, query
from dashboard.page import viewer_zone
from dashboard.time_format import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    format_media_time,
    format_time_of_day,
    utc_offset_ms,
)
from pipeline.store.queries import list_runs

WINDOWS = {
    "2 min": 2 * MINUTE_MS,
    "10 min": 10 * MINUTE_MS,
    "1 h": HOUR_MS,
    "6 h": 6 * HOUR_MS,
    "24 h": DAY_MS,
    "7 days": 7 * DAY_MS,
}
EVERY_CAMERA = "All cameras"


@dataclass(frozen=True)
class TimeRange:
    """[since_ms, until_ms): milliseconds UTC, or for a recording milliseconds from its start."""

    since_ms: int
    until_ms: int
    is_recording: bool = False
    run: str | None = None
    """The run of a recording; None for live video."""

    def align_to_refresh(self) -> TimeRange:
        """Moved back to a multiple of 5 s, or of a minute if longer than 10 min: otherwise the
        buckets of a chart would shift at every refresh."""
        step = 5 * SECOND_MS if self.until_ms - self.since_ms <= 10 * MINUTE_MS else MINUTE_MS
        late = 0 if self.is_recording else self.until_ms % step
        return replace(self, since_ms=self.since_ms - late, until_ms=self.until_ms - late)

    def format(self, ms: int) -> str:
        """A moment of it for display: time of day, or position in the recording."""
        return (
            format_media_time(ms)
            if self.is_recording
            else format_time_of_day(ms, now_ms(), viewer_zone())
        )

    def step_of(self, ms: int, step_ms: int) -> int:
        """The number of the step that contains a moment, counted from midnight in the viewer's
        time zone, or from the start of the recording."""
        return (ms if self.is_recording else ms + utc_offset_ms(ms, viewer_zone())) // step_ms


def select_camera(titles: Mapping[str, str], key: str) -> str:
    """The selected camera, one of the keys; at first the first one."""
    # Streamlit writes the title into the address; the id, as others write it there, is taken too.
    wanted = st.query_params.get(key)
    if wanted in titles:
        st.session_state[key] = wanted
    return st.selectbox(
        "Camera", list(titles), format_func=titles.__getitem__, key=key, bind="query-params"
    )


def select_window() -> str:
    """The selected time range, a key of WINDOWS."""
    return st.segmented_control(
        "Time range",
        list(WINDOWS),
        default="10 min",
        required=True,
        key="window",
        bind="query-params",
    )


def selected_range(camera: str, window: str) -> TimeRange:
    """The window up to now; for a camera that is a file, the whole of its newest run instead."""
    runs = query(list_runs, camera, limit=1)
    if camera != EVERY_CAMERA and runs and runs[0].clock == "media":
        first_ms, last_ms = runs[0].first_ms or 0, runs[0].last_ms or 0
        return TimeRange(first_ms, last_ms + 1, is_recording=True, run=runs[0].run)
    return TimeRange(now_ms() - WINDOWS[window], now_ms())
