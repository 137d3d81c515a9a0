"""Cameras: which are up, how well they keep pace, and what they see."""

from __future__ import annotations

import streamlit as st

from dashboard.database import ask, now_ms
from dashboard.frame import NO_CAMERA, live, notice
from dashboard.tables import NUMBER, Markup, counted, legend, safe, stacked, state, table, two_lines
from dashboard.times import HOUR_MS, MINUTE_MS, SECOND_MS, ago, duration
from pipeline.store.queries import (
    CameraOverview,
    Latency,
    Shares,
    camera_overview,
    expression_shares,
    latency,
    list_runs,
)

SCREEN_MS = 5 * SECOND_MS
"""A face is on screen for this long after its last look: rows arrive with a delay."""
SILENT_MS = MINUTE_MS
"""A camera that says it is online but has said nothing for this long is called silent."""
SHARES_MS = 10 * MINUTE_MS
COLUMNS = {
    "Camera": "",
    "State": "uc-text",
    "For": NUMBER,
    "Faces": NUMBER,
    "Shown, 10 min": "uc-wide",
    "Tracks, 1 h": NUMBER,
    "Frames/s": NUMBER,
    "Lag": NUMBER,
    "Dropped": NUMBER,
    "Last word": NUMBER,
}


def show() -> None:
    """The page."""
    live("Cameras", _draw)


def _draw() -> None:
    now = now_ms()
    cameras = ask(camera_overview, now - HOUR_MS, now, screen_ms=SCREEN_MS)
    if not cameras:
        notice(*NO_CAMERA)
        return
    recordings = {run.camera for run in ask(list_runs, limit=200) if run.clock == "media"}
    shares = ask(expression_shares, now - SHARES_MS, now)
    minute = ask(expression_shares, now - MINUTE_MS, now)
    delays = ask(latency, now - MINUTE_MS, now)
    states = {camera.camera: _state(camera, now, recordings) for camera in cameras}
    _numbers(cameras, states, minute, delays)
    rows = [_row(c, states[c.camera], now, shares.get(c.camera)) for c in cameras]
    st.html(table(COLUMNS, rows))
    st.html(legend())


def _state(camera: CameraOverview, now: int, recordings: set[str]) -> str:
    if camera.state is None:
        return "recording" if camera.camera in recordings else "unknown"
    silent = camera.state in ("online", "lagging") and now - _last_word(camera) > SILENT_MS
    return "silent" if silent else camera.state


def _last_word(camera: CameraOverview) -> int:
    return max(camera.reported_ms or 0, camera.last_observed_ms or 0)


def _numbers(
    cameras: list[CameraOverview],
    states: dict[str, str],
    minute: dict[str, Shares],
    delays: list[Latency],
) -> None:
    online = sum(state in ("online", "lagging") for state in states.values())
    looks = sum(shares.observations for shares in minute.values())
    delay = max((clock.p50_ms for clock in delays), default=None)
    places = st.columns(4)
    places[0].metric("Cameras online", f"{online} of {len(cameras)}", border=True)
    places[1].metric(
        "Faces on screen",
        sum(camera.faces for camera in cameras),
        border=True,
        help=f"Tracks with a look in the last {SCREEN_MS // SECOND_MS} s.",
    )
    places[2].metric(
        "Looks, last minute",
        f"{looks:,}",
        border=True,
        help="One look is one face in one analysed frame.",
    )
    places[3].metric(
        "Median delay",
        "–" if delay is None else duration(delay),
        border=True,
        help="From capture to stored row, over the last minute. See Health.",
    )


def _row(camera: CameraOverview, name: str, now: int, shares: Shares | None) -> list[object]:
    pace = camera.state is not None and name not in ("offline", "refused")
    word = _last_word(camera)
    return [
        Markup(f"<strong>{safe(camera.camera)}</strong>"),
        two_lines(state(name), camera.reason) if camera.reason else state(name),
        "–" if camera.since_ms is None else duration(max(0, now - camera.since_ms)),
        camera.faces,
        stacked(counted(shares)) if shares else "",
        f"{camera.tracks:,}",
        f"{camera.fps:.1f}" if pace else "–",
        duration(camera.lag_ms or 0) if pace else "–",
        _dropped(camera.shed),
        ago(word, now) if word and name != "recording" else "–",
    ]


def _dropped(shed: dict[str, int]) -> object:
    total = sum(shed.values())
    causes = sorted(filter(shed.get, shed), key=lambda cause: -shed[cause])
    said = (safe(f"{cause.replace('_', ' ')} {shed[cause]:,}") for cause in causes)
    return two_lines(f"{total:,}", Markup("<br>".join(said))) if total else "0"
