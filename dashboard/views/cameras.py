"""Cameras: which are up, how well they keep pace, and what they see."""

from __future__ import annotations

import streamlit as st

from dashboard.database import ask, now_ms
from dashboard.page import NO_CAMERA, live, notice
from dashboard.tables import NUMBER, Markup, counted, legend, safe, stacked, state, table, two_lines
from dashboard.times import HOUR_MS, MINUTE_MS, SECOND_MS, ago, duration
from pipeline.camera_states import READ
from pipeline.store.queries import (
    CameraOverview,
    Latency,
    Shares,
    camera_overview,
    expression_shares,
    latency,
)

SCREEN_MS = 5 * SECOND_MS
"""A face is on screen for this long after its last look: rows arrive with a delay."""
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
    shares = ask(expression_shares, now - SHARES_MS, now)
    minute = ask(expression_shares, now - MINUTE_MS, now)
    delays = ask(latency, now - MINUTE_MS, now)
    _numbers(cameras, minute, delays)
    rows = [_row(camera, now, shares.get(camera.camera)) for camera in cameras]
    st.html(table(COLUMNS, rows))
    st.html(legend())


def _numbers(
    cameras: list[CameraOverview],
    minute: dict[str, Shares],
    delays: list[Latency],
) -> None:
    online = sum(camera.state in READ for camera in cameras)
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


def _row(camera: CameraOverview, now: int, shares: Shares | None) -> list[object]:
    name = state(camera.state)
    return [
        Markup(f"<strong>{safe(camera.camera)}</strong>"),
        two_lines(name, camera.reason) if camera.reason else name,
        "–" if camera.since_ms is None else duration(max(0, now - camera.since_ms)),
        camera.faces,
        stacked(counted(shares)) if shares else "",
        f"{camera.tracks:,}",
        "–" if camera.fps is None else f"{camera.fps:.1f}",
        "–" if camera.lag_ms is None else duration(camera.lag_ms),
        _dropped(camera.shed),
        "–" if camera.heard_ms is None else ago(camera.heard_ms, now),
    ]


def _dropped(shed: dict[str, int]) -> object:
    total = sum(shed.values())
    causes = sorted(filter(shed.get, shed), key=lambda cause: -shed[cause])
    said = (safe(f"{cause.replace('_', ' ')} {shed[cause]:,}") for cause in causes)
    return two_lines(f"{total:,}", Markup("<br>".join(said))) if total else "0"
