"""The viewer's selection: a camera and a time, both kept in the page's address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import streamlit as st

from dashboard.database import now_ms, query
from dashboard.page import viewer_zone
from dashboard.time_choice import TimeChoice
from dashboard.time_format import (
    MINUTE_MS,
    SECOND_MS,
    format_media_time,
    format_moment,
    utc_offset_ms,
)
from pipeline.store.queries import choose_bucket, list_runs

EVERY_CAMERA = "All cameras"
CAMERA = "camera"
"""The query parameter of the selected camera."""
_LAST = "last camera"


@dataclass(frozen=True)
class TimeRange:
    """[since_ms, until_ms): milliseconds UTC, or for a recording milliseconds from its start."""

    since_ms: int
    until_ms: int
    is_recording: bool = False
    run: str | None = None
    """The run of a recording; None for live video."""

    @property
    def offset_ms(self) -> int:
        """By how much local time is ahead of UTC, at its start; 0 for a recording."""
        return 0 if self.is_recording else utc_offset_ms(self.since_ms, viewer_zone())

    def align_to_buckets(self, points: int) -> tuple[TimeRange, int]:
        """The range from the start of its first bucket on, and the length of its buckets.

        A range up to now ends at a multiple of 5 s, or of a minute if longer than 10 min: otherwise
        a chart would change, and close its tooltip, at every refresh.
        """
        length = self.until_ms - self.since_ms
        bucket_ms = choose_bucket(length, points)
        step = 5 * SECOND_MS if length <= 10 * MINUTE_MS else MINUTE_MS
        is_live = not self.is_recording and self.until_ms >= now_ms()
        until_ms = self.until_ms - (self.until_ms % step if is_live else 0)
        start_ms = until_ms - length if is_live else self.since_ms
        late = (start_ms + self.offset_ms) % bucket_ms
        return replace(self, since_ms=start_ms - late, until_ms=until_ms), bucket_ms

    def format(self, ms: int) -> str:
        """A moment of it for display: day and time of day, or position in the recording."""
        return format_media_time(ms) if self.is_recording else format_moment(ms, viewer_zone())

    def step_of(self, ms: int, step_ms: int) -> int:
        """The number of the step that contains a moment, counted from midnight in the viewer's
        time zone, or from the start of the recording."""
        return (ms if self.is_recording else ms + utc_offset_ms(ms, viewer_zone())) // step_ms


def select_camera(titles: Mapping[str, str]) -> str:
    """The selected camera, one of the keys; at first the first one. The address has its id, which
    no new display name changes, and the other pages show the same camera."""
    wanted: str = st.query_params.get(CAMERA) or st.session_state.get(_LAST, "")
    if wanted in titles:
        st.query_params[CAMERA] = st.session_state[_LAST] = wanted
    else:
        wanted = next(iter(titles))
    key = f"{CAMERA} {wanted}"  # see dashboard.filters

    def remember() -> None:
        st.query_params[CAMERA] = st.session_state[_LAST] = st.session_state[key]

    st.selectbox(
        "Camera",
        list(titles),
        index=list(titles).index(wanted),
        format_func=titles.__getitem__,
        key=key,
        on_change=remember,
    )
    return wanted


def find_range(camera: str, choice: TimeChoice) -> TimeRange:
    """The chosen time; for a camera that is a file, the whole of its newest run instead."""
    runs = query(list_runs, camera, limit=1)
    if camera != EVERY_CAMERA and runs and runs[0].clock == "media":
        first_ms, last_ms = runs[0].first_ms or 0, runs[0].last_ms or 0
        return TimeRange(first_ms, last_ms + 1, is_recording=True, run=runs[0].run)
    return TimeRange(choice.since_ms, choice.until_ms)
