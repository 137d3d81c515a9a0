"""The Expressions page: one camera over time, and its totals beside those of all cameras."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from dashboard import charts
from dashboard.database import now_ms, query
from dashboard.no_data import explain_no_faces, find_no_data
from dashboard.page import NO_CAMERA, escape_markdown, show_notice, show_page, two_columns
from dashboard.selection import select_camera, select_window, selected_range
from dashboard.tables import (
    NUMBER,
    Markup,
    label_legend,
    label_shares,
    no_data_legend,
    share_table,
    stacked_bar,
    table,
)
from dashboard.time_format import format_duration
from models.emotions import EMOTIONS, UNKNOWN
from pipeline.store.queries import Shares, camera_overview, expression_shares, expression_timeline

NOTHING = Shares(0, {}, (0.0,) * len(EMOTIONS))
POINTS = 120
"""At most this many bars in the timeline: more cannot be distinguished on a small screen."""


def show() -> None:
    """The page."""
    show_page("Expressions", _draw)


def _draw() -> None:
    titles = {c.camera: c.title for c in query(camera_overview, now_ms(), now_ms())}
    if titles:
        camera, window = _select(titles)
        _draw_camera(titles, camera, window)
    else:
        show_notice(*NO_CAMERA)


def _select(titles: Mapping[str, str]) -> tuple[str, str]:
    left, right = st.columns([1, 2])
    with left:
        camera = select_camera(titles, key="camera")
    with right:
        window = select_window()
    return camera, window


def _draw_camera(titles: Mapping[str, str], camera: str, window: str) -> None:
    time = selected_range(camera, window)
    since, until = time.since_ms, time.until_ms
    drawn = time.align_to_refresh()
    timeline = query(expression_timeline, camera, drawn.since_ms, drawn.until_ms, points=POINTS)
    shares = query(expression_shares, since, until)
    tracks = {c.camera: c.tracks for c in query(camera_overview, since, until)}
    no_data = find_no_data(camera, drawn, drawn.run)
    _show_metrics(shares.get(camera, NOTHING), tracks.get(camera, 0))
    if camera not in shares:
        show_notice(*explain_no_faces(camera, no_data, drawn))
    st.html(label_legend())
    st.html(no_data_legend("empty: video, but no face"))
    charts.draw_chart(
        charts.expression_timeline(timeline, drawn, no_data),
        key="timeline",
        alt=f"Expressions seen by {titles[camera]} over time, as shares of the observations",
    )
    bucket = format_duration(timeline.bucket_ms).replace(".0", "")
    st.caption(
        "Top: share of the observations per label. Below: number of observations, and times "
        f"without video or data. One bar is {bucket}."
    )
    if camera not in shares:
        return
    left, right = two_columns()
    with left:
        st.subheader(f"Expressions seen by {escape_markdown(titles[camera])}", anchor=False)
        st.html(share_table(shares[camera]))
    with right:
        st.subheader("All cameras", anchor=False)
        st.html(_all_cameras_table(titles, shares))


def _show_metrics(shares: Shares, tracks: int) -> None:
    parts = label_shares(shares)
    named = {label: part for label, part in parts.items() if label != UNKNOWN}
    most = max(named, key=lambda label: named[label], default="–")
    columns = st.columns(4)
    columns[0].metric(
        "Tracks", f"{tracks:,}", border=True, help="Faces followed in this time range."
    )
    columns[1].metric("Observations", f"{shares.observations:,}", border=True)
    columns[2].metric("Most frequent", most, border=True)
    columns[3].metric(
        "Unknown",
        f"{parts.get(UNKNOWN, 0):.0%}",
        border=True,
        help="Share of the observations that were too uncertain for a label.",
    )


def _all_cameras_table(titles: Mapping[str, str], shares: Mapping[str, Shares]) -> Markup:
    found = [(title, shares.get(camera, NOTHING)) for camera, title in titles.items()]
    rows = [
        (title, stacked_bar(label_shares(seen)), f"{seen.observations:,}") for title, seen in found
    ]
    return table({"Camera": "", "Expressions": "uc-wide", "Observations": NUMBER}, rows)
