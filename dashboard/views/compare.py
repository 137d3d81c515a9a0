"""The Compare page: cameras over time, one day against another, and the hours of the week."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta, tzinfo
from functools import reduce

import streamlit as st

from dashboard import charts
from dashboard.compare_charts import cameras_heat_map, day_lines, week_heat_map
from dashboard.database import now_ms, query, query_each_minute
from dashboard.filters import select_parameter
from dashboard.measures import DERIVED as DERIVED_MEASURES
from dashboard.measures import Measure, list_measures
from dashboard.page import NO_CAMERA, show_notice, show_page, viewer_zone
from dashboard.selection import TimeRange, select_camera
from dashboard.time_choice import TimeChoice, select_time, show_time_tools
from dashboard.time_format import DAY_MS, HOUR_MS, format_day, to_local
from pipeline.store.queries import (
    NEGATIVE,
    Shares,
    Timeline,
    camera_overview,
    expression_timeline,
    expression_timelines,
)

EVERY_S = 60.0
"""Seconds between refreshes: these are long times, and their queries the slowest."""
POINTS = 96
"""At most this many columns of time."""
MAX_CAMERAS = 16
"""At most this many cameras are compared, the first by name."""
WEEKS = 4
"""The hours of the week are those of so many weeks."""
DERIVED = "valence"
"""The query parameter that switches valence and arousal on."""
NEGATIVE_MEANING = f"Negative labels: {', '.join(NEGATIVE)}."
EXPLANATION = (
    "Valence and arousal are not measured: they are the eight mean probabilities, each times fixed "
    "coordinates of its word (Russell and Mehrabian 1977; contempt: half of disgust's), −1 to 1. "
    "They say nothing that the shares do not say, and nothing about what a person feels."
)


def show() -> None:
    """The page."""
    show_page("Compare", _draw, EVERY_S)


def _draw() -> None:
    now = now_ms()
    titles = {c.camera: c.title for c in query(camera_overview, now, now)}
    if not titles:
        show_notice(*NO_CAMERA)
        return
    left, right = st.columns([1, 3])
    with left:
        measure = _select_measure()
    with right:
        choice = select_time()
    show_time_tools(choice)
    st.subheader("Cameras over time", anchor=False)
    _show_cameras(titles, measure, choice)
    with st.container(width=360):
        camera = select_camera(titles)
    zone = viewer_zone()
    st.subheader("Day against day", anchor=False)
    _show_days(camera, measure, zone)
    st.subheader("Hours of the week", anchor=False)
    _show_week(camera, measure, zone)


def _select_measure() -> Measure:
    is_on = st.query_params.get(DERIVED) == "on"
    measures = list_measures(is_on)
    name = select_parameter(
        "Measure", "measure", {name: one.title for name, one in measures.items()}
    )
    key = f"show {DERIVED} {is_on}"

    def remember() -> None:
        st.query_params.pop(DERIVED, None)
        if st.session_state[key]:
            st.query_params[DERIVED] = "on"

    st.checkbox("Offer valence and arousal", is_on, key=key, on_change=remember)
    st.caption(EXPLANATION if is_on else NEGATIVE_MEANING)
    return measures[name]


def _show_cameras(titles: Mapping[str, str], measure: Measure, choice: TimeChoice) -> None:
    time, bucket_ms = TimeRange(choice.since_ms, choice.until_ms).align_to_buckets(POINTS)
    shown = list(titles.items())[:MAX_CAMERAS]
    found = query_each_minute(
        expression_timelines,
        tuple(camera for camera, _ in shown),
        time.since_ms,
        time.until_ms,
        bucket_ms,
        time.offset_ms,
        with_means=measure.name in DERIVED_MEASURES,
    )
    timelines = {title: found[camera] for camera, title in shown}
    if not any(timeline.points for timeline in timelines.values()):
        show_notice("No face was seen in this time range.", "Choose a longer time range.")
        return
    charts.draw_chart(
        cameras_heat_map(timelines, measure, time, bucket_ms),
        key="cameras-heat",
        alt=f"{measure.title} of each camera over time",
        extra_px=40,
    )
    if len(titles) > MAX_CAMERAS:
        st.caption(f"The first {MAX_CAMERAS} of {len(titles)} cameras.")


def _show_days(camera: str, measure: Measure, zone: tzinfo) -> None:
    today = to_local(now_ms(), zone).date()
    with st.container(horizontal=True, key="days"):
        days = [
            _select_day("Day", "day", today, today),
            _select_day("Against", "against", today - timedelta(days=1), today),
        ]
    lines = {
        format_day(_midnight(day, zone), zone): _read_day(camera, measure, day, zone)
        for day in days
    }
    charts.draw_chart(
        day_lines(lines, measure),
        key="days-lines",
        alt=f"{measure.title} by the hour on {' and on '.join(lines)}",
    )


def _select_day(title: str, name: str, default: date, last: date) -> date:
    try:
        wanted = min(date.fromisoformat(st.query_params.get(name, "")), last)
    except ValueError:
        wanted = default
    key = f"select {name} {wanted}"

    def remember() -> None:
        chosen = st.session_state[key]
        st.query_params[name] = (chosen or default).isoformat()

    st.date_input(
        title,
        wanted,
        key=key,
        on_change=remember,
        format="YYYY-MM-DD",
        min_value=date(2000, 1, 1),
        max_value=last,
        width=180,
    )
    return wanted


def _read_day(camera: str, measure: Measure, day: date, zone: tzinfo) -> list[float | None]:
    since, until = (_midnight(one, zone) for one in (day, day + timedelta(days=1)))
    values: list[float | None] = [None] * 24
    for point in _read(camera, TimeRange(since, until), HOUR_MS).points:
        values[to_local(point.start_ms, zone).hour] = measure.of(point.shares)
    return values


def _show_week(camera: str, measure: Measure, zone: tzinfo) -> None:
    hour = now_ms() - now_ms() % HOUR_MS
    time = TimeRange(hour - WEEKS * 7 * DAY_MS, hour)
    found: dict[tuple[int, int], list[Shares]] = {}
    for point in _read(camera, time, HOUR_MS).points:
        then = to_local(point.start_ms, zone)
        found.setdefault((then.hour, then.weekday()), []).append(point.shares)
    cells = {place: measure.of(reduce(add_shares, shares)) for place, shares in found.items()}
    charts.draw_chart(
        week_heat_map(cells, measure),
        key="week-heat",
        alt=f"{measure.title} by hour and weekday",
        extra_px=40,
    )
    st.caption(f"All observations of the last {WEEKS} weeks, times in {zone}.")


def add_shares(one: Shares, other: Shares) -> Shares:
    """The observations of both together."""
    total = one.observations + other.observations
    labels = one.counts.keys() | other.counts.keys()
    counts = {label: one.counts.get(label, 0) + other.counts.get(label, 0) for label in labels}
    mean = tuple(
        (a * one.observations + b * other.observations) / max(total, 1)
        for a, b in zip(one.mean, other.mean, strict=True)
    )
    return Shares(total, counts, mean)


def _read(camera: str, time: TimeRange, bucket_ms: int) -> Timeline:
    return query_each_minute(
        expression_timeline,
        camera,
        time.since_ms,
        time.until_ms,
        offset_ms=time.offset_ms,
        bucket_ms=bucket_ms,
    )


def _midnight(day: date, zone: tzinfo) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
