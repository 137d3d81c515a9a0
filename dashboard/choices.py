"""What the viewer chose: a camera, and the stretch of time to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from dashboard.database import ask, now_ms
from dashboard.page import zone
from dashboard.times import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    media_time,
    offset_ms,
    time_of_day,
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
class Span:
    """[since_ms, until_ms) of the day, or of a recording, whose times count from its start."""

    since_ms: int
    until_ms: int
    recorded: bool = False
    run: str | None = None
    """Of a recording: which one."""

    def settled(self) -> Span:
        """Up to the last 5 s, or minute where it is longer than 10 min: a chart of it does not
        change under the reader's eyes at every refresh."""
        step = 5 * SECOND_MS if self.until_ms - self.since_ms <= 10 * MINUTE_MS else MINUTE_MS
        late = 0 if self.recorded else self.until_ms % step
        return replace(self, since_ms=self.since_ms - late, until_ms=self.until_ms - late)

    def time(self, ms: int) -> str:
        """A moment of it, as people say it."""
        return media_time(ms) if self.recorded else time_of_day(ms, now_ms(), zone())

    def step_of(self, ms: int, step_ms: int) -> int:
        """The number of the step that a moment lies in, counted from a midnight of the viewer's, or
        from the recording's start."""
        return (ms if self.recorded else ms + offset_ms(ms, zone())) // step_ms


def choose_camera(names: Sequence[str], key: str) -> str:
    """One of these names; the first until the viewer says otherwise."""
    return st.selectbox("Camera", names, key=key, bind="query-params")


def choose_window() -> str:
    """A key of WINDOWS."""
    return st.segmented_control(
        "Window", list(WINDOWS), default="10 min", required=True, key="window", bind="query-params"
    )


def span(camera: str, window: str) -> Span:
    """The window until now; of a camera that is a file, all of its newest run instead."""
    runs = ask(list_runs, camera, limit=1)
    if camera != EVERY_CAMERA and runs and runs[0].clock == "media":
        first_ms, last_ms = runs[0].first_ms or 0, runs[0].last_ms or 0
        return Span(first_ms, last_ms + 1, recorded=True, run=runs[0].run)
    return Span(now_ms() - WINDOWS[window], now_ms())
