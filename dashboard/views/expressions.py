"""The Expressions page: one camera over time, and its totals beside those of all cameras."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from dashboard import charts
from dashboard.chart_gestures import Interval, listen
from dashboard.database import now_ms, query
from dashboard.links import open_page
from dashboard.no_data import explain_no_faces, find_no_data
from dashboard.page import NO_CAMERA, escape_markdown, show_notice, show_page, two_columns
from dashboard.selectable_table import show_linked_table
from dashboard.selection import TimeRange, find_range, select_camera
from dashboard.tables import (
    NUMBER,
    Markup,
    label_legend,
    label_shares,
    link,
    no_data_legend,
    share_table,
    stacked_bar,
    table,
)
from dashboard.time_axis import list_buckets
from dashboard.time_choice import TimeChoice, choose, select_time, show_time_tools
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
    if not titles:
        show_notice(*NO_CAMERA)
        return
    left, right = st.columns([1, 3])
    with left:
        camera = select_camera(titles)
    with right:
        choice = select_time()
    show_time_tools(choice)
    _draw_camera(titles, camera, choice)


def _draw_camera(titles: Mapping[str, str], camera: str, choice: TimeChoice) -> None:
    time = find_range(camera, choice)
    since, until = time.since_ms, time.until_ms
    drawn, bucket_ms = time.align_to_buckets(POINTS)
    timeline = query(
        expression_timeline,
        camera,
        drawn.since_ms,
        drawn.until_ms,
        run=drawn.run,
        offset_ms=drawn.offset_ms,
        bucket_ms=bucket_ms,
    )
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
    hint = "" if time.is_recording else " Drag over it to zoom in; click a bar for its faces."
    st.caption(
        "Top: share of the observations per label. Below: number of observations, and times "
        f"without video or data. One bar is {_name_bucket(bucket_ms)}.{hint}"
    )
    if not time.is_recording:
        _listen(camera, drawn, bucket_ms)
    if camera not in shares:
        return
    left, right = two_columns()
    with left:
        st.subheader(f"Expressions seen by {escape_markdown(titles[camera])}", anchor=False)
        st.html(share_table(shares[camera]))
    with right:
        st.subheader("All cameras", anchor=False)
        show_linked_table(_all_cameras_table(titles, shares, choice), "all-cameras")


def _listen(camera: str, drawn: TimeRange, bucket_ms: int) -> None:
    buckets = list_buckets(drawn, bucket_ms)

    def zoom(interval: Interval) -> None:
        choose(TimeChoice(*interval))

    def open_faces(interval: Interval) -> None:
        choose(TimeChoice(*interval))
        open_page("tracks", {"camera": camera} | TimeChoice(*interval).to_parameters())

    listen("timeline", (buckets[0], buckets[-1] + bucket_ms), bucket_ms, zoom, open_faces)


def _name_bucket(bucket_ms: int) -> str:
    return format_duration(bucket_ms).replace(".0", "")


def _show_metrics(shares: Shares, tracks: int) -> None:
    parts = label_shares(shares)
    named = {label: part for label, part in parts.items() if label != UNKNOWN}
    most = max(named, key=lambda label: named[label], default="–")
    with st.container(key="metrics"):
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


def _all_cameras_table(
    titles: Mapping[str, str], shares: Mapping[str, Shares], choice: TimeChoice
) -> Markup:
    found = [(camera, title, shares.get(camera, NOTHING)) for camera, title in titles.items()]
    rows = [
        (
            link(title, "expressions", {"camera": camera} | choice.to_parameters()),
            stacked_bar(label_shares(seen)),
            f"{seen.observations:,}",
        )
        for camera, title, seen in found
    ]
    return table({"Camera": "", "Expressions": "uc-wide", "Observations": NUMBER}, rows)
