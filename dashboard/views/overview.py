"""The Cameras page: state, frame rate, lag, and expressions of each camera."""

from __future__ import annotations

import streamlit as st

from dashboard.database import now_ms, query
from dashboard.page import NO_CAMERA, show_notice, show_page
from dashboard.tables import (
    NUMBER,
    Markup,
    label_legend,
    label_shares,
    stacked_bar,
    state_badge,
    table,
    to_html,
    two_lines,
)
from dashboard.time_format import HOUR_MS, MINUTE_MS, SECOND_MS, format_ago, format_duration
from pipeline.camera_states import VIDEO_STATES
from pipeline.store.queries import (
    CameraOverview,
    Latency,
    Shares,
    camera_overview,
    expression_shares,
    latency,
)

IN_VIEW_MS = 5 * SECOND_MS
"""A face counts as in view for this long after its last observation: rows arrive late."""
SHARES_MS = 10 * MINUTE_MS
COLUMNS = {
    "Camera": "",
    "State": "uc-text",
    "Duration": NUMBER,
    "Faces": NUMBER,
    "Expressions, 10 min": "uc-wide",
    "Tracks, 1 h": NUMBER,
    "Frames/s": NUMBER,
    "Lag": NUMBER,
    "Frames shed": NUMBER,
    "Last update": NUMBER,
}


def show() -> None:
    """The page."""
    show_page("Cameras", _draw)


def _draw() -> None:
    now = now_ms()
    cameras = query(camera_overview, now - HOUR_MS, now, screen_ms=IN_VIEW_MS)
    if not cameras:
        show_notice(*NO_CAMERA)
        return
    shares = query(expression_shares, now - SHARES_MS, now)
    minute = query(expression_shares, now - MINUTE_MS, now)
    latencies = query(latency, now - MINUTE_MS, now)
    _show_metrics(cameras, minute, latencies)
    rows = [_row(camera, now, shares.get(camera.camera)) for camera in cameras]
    st.html(table(COLUMNS, rows))
    st.html(label_legend())


def _show_metrics(
    cameras: list[CameraOverview],
    minute: dict[str, Shares],
    latencies: list[Latency],
) -> None:
    online = sum(camera.state in VIDEO_STATES for camera in cameras)
    observations = sum(shares.observations for shares in minute.values())
    median_ms = max((clock.p50_ms for clock in latencies), default=None)
    columns = st.columns(4)
    columns[0].metric("Cameras online", f"{online} of {len(cameras)}", border=True)
    columns[1].metric(
        "Faces in view",
        sum(camera.faces for camera in cameras),
        border=True,
        help=f"Tracks with an observation in the last {IN_VIEW_MS // SECOND_MS} s.",
    )
    columns[2].metric(
        "Observations, last minute",
        f"{observations:,}",
        border=True,
        help="An observation is one classified face in one frame.",
    )
    columns[3].metric(
        "Median latency",
        "–" if median_ms is None else format_duration(median_ms),
        border=True,
        help="From capture to stored row, over the last minute. Details are on the Health page.",
    )


def _row(camera: CameraOverview, now: int, shares: Shares | None) -> list[object]:
    name = state_badge(camera.state)
    return [
        _name(camera),
        two_lines(name, camera.reason) if camera.reason else name,
        "–" if camera.since_ms is None else format_duration(max(0, now - camera.since_ms)),
        camera.faces,
        stacked_bar(label_shares(shares)) if shares else "",
        f"{camera.tracks:,}",
        "–" if camera.fps is None else f"{camera.fps:.1f}",
        "–" if camera.lag_ms is None else format_duration(camera.lag_ms),
        _shed_frames(camera.shed),
        "–" if camera.last_update_ms is None else format_ago(camera.last_update_ms, now),
    ]


def _name(camera: CameraOverview) -> Markup:
    name = Markup(f"<strong>{to_html(camera.display_name or camera.camera)}</strong>")
    details = [camera.camera if camera.display_name else "", camera.purpose]
    lines = Markup("<br>".join(to_html(line) for line in details if line))
    return two_lines(name, lines) if lines else name


def _shed_frames(shed: dict[str, int]) -> object:
    total = sum(shed.values())
    causes = sorted(filter(shed.get, shed), key=lambda cause: -shed[cause])
    lines = (to_html(f"{cause.replace('_', ' ')} {shed[cause]:,}") for cause in causes)
    return two_lines(f"{total:,}", Markup("<br>".join(lines))) if total else "0"
