"""Expressions: what a camera's faces showed over time, and in sum beside the other cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard import charts
from dashboard.absence import absence, no_face
from dashboard.choices import choose_camera, choose_window, span
from dashboard.database import ask, now_ms
from dashboard.page import NO_CAMERA, halves, live, notice
from dashboard.tables import (
    NUMBER,
    Markup,
    absence_legend,
    counted,
    legend,
    share_table,
    stacked,
    table,
)
from dashboard.times import duration
from models.emotions import EMOTIONS, UNKNOWN
from pipeline.store.queries import Shares, camera_overview, expression_shares, expression_timeline

NOTHING = Shares(0, {}, (0.0,) * len(EMOTIONS))
POINTS = 120
"""Bars of the timeline at most: more could not be told apart on a small screen."""


def show() -> None:
    """The page."""
    live("Expressions", _draw)


def _draw() -> None:
    cameras = [c.camera for c in ask(camera_overview, now_ms(), now_ms())]
    if cameras:
        camera, window = _choose(cameras)
        _draw_camera(cameras, camera, window)
    else:
        notice(*NO_CAMERA)


def _choose(cameras: Sequence[str]) -> tuple[str, str]:
    left, right = st.columns([1, 2])
    with left:
        camera = choose_camera(cameras, key="camera")
    with right:
        window = choose_window()
    return camera, window


def _draw_camera(cameras: Sequence[str], camera: str, window: str) -> None:
    time = span(camera, window)
    since, until = time.since_ms, time.until_ms
    drawn = time.settled()
    timeline = ask(expression_timeline, camera, drawn.since_ms, drawn.until_ms, points=POINTS)
    shares = ask(expression_shares, since, until)
    faces = {c.camera: c.tracks for c in ask(camera_overview, since, until)}
    missing = absence(camera, drawn, drawn.run)
    _numbers(shares.get(camera, NOTHING), faces.get(camera, 0))
    if camera not in shares:
        notice(*no_face(camera, missing, drawn))
    st.html(legend())
    st.html(absence_legend("plain: video, and no face"))
    charts.draw(
        charts.expression_timeline(timeline, drawn, missing),
        key="timeline",
        alt=f"What {camera} saw over time: each expression's share of the looks",
    )
    st.caption(
        "Above, each label's share of the looks; below, how many looks there were, and whether "
        f"there was video; per {duration(timeline.bucket_ms).replace('.0', '')}."
    )
    if camera not in shares:
        return
    left, right = halves()
    with left:
        st.subheader(f"Seen by {camera}", anchor=False)
        st.html(share_table(shares[camera]))
    with right:
        st.subheader("All cameras side by side", anchor=False)
        st.html(_side_by_side(cameras, shares))


def _numbers(shares: Shares, faces: int) -> None:
    parts = counted(shares)
    named = {label: part for label, part in parts.items() if label != UNKNOWN}
    most = max(named, key=lambda label: named[label], default="–")
    places = st.columns(4)
    places[0].metric("Faces", f"{faces:,}", border=True, help="Tracks that overlap this time.")
    places[1].metric("Looks", f"{shares.observations:,}", border=True)
    places[2].metric("Shown most", most, border=True)
    places[3].metric(
        "Unknown",
        f"{parts.get(UNKNOWN, 0):.0%}",
        border=True,
        help="Share of the looks that were too uncertain to be given a name.",
    )


def _side_by_side(cameras: Sequence[str], shares: Mapping[str, Shares]) -> Markup:
    found = [(camera, shares.get(camera, NOTHING)) for camera in cameras]
    rows = [(name, stacked(counted(seen)), f"{seen.observations:,}") for name, seen in found]
    return table({"Camera": "", "Shown": "uc-wide", "Looks": NUMBER}, rows)
