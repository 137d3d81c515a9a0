"""The Health page: latency, throughput, losses, dead letters and the size of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard import charts
from dashboard.database import describe_database, now_ms, query
from dashboard.no_data import find_no_data
from dashboard.page import show_page, two_columns, viewer_zone
from dashboard.selection import TimeRange
from dashboard.tables import NUMBER, no_data_legend, table, two_lines
from dashboard.time_format import DAY_MS, HOUR_MS, MINUTE_MS, format_duration, format_time_of_day
from pipeline.camera_states import DISABLED, ENDED, REGISTERED, UNREGISTERED
from pipeline.store.queries import (
    GapRow,
    Latency,
    camera_overview,
    database_bytes,
    dead_letter_count,
    latency,
    recent_gaps,
    rows_per_minute,
)
from pipeline.store.queries.health import COUNT_LIMIT, LATENCY_ROWS

WINDOWS = {"1 min": MINUTE_MS, "10 min": 10 * MINUTE_MS}
RATE_MS = 2 * HOUR_MS
IDLE = (ENDED, DISABLED, REGISTERED, UNREGISTERED)
"""States of cameras that are not expected to have video."""
MAX_CAMERAS = 64
"""At most this many cameras count for the strip of times without data."""
CLOCKS = {
    "rtcp": "from capture, by the camera's own clock",
    "arrival": "from the arrival of the frame",
}


def show() -> None:
    """The page."""
    show_page("Health", _draw)


def _draw() -> None:
    now = now_ms()
    latencies = {name: query(latency, now - ms, now) for name, ms in WINDOWS.items()}
    # Without the current minute, which is not over: its lower count would look like a drop.
    minute = now - now % MINUTE_MS
    time = TimeRange(minute - RATE_MS, minute)
    minutes = query(rows_per_minute, time.since_ms, time.until_ms)
    gaps = query(recent_gaps, now - DAY_MS, now)
    dead_letters, size = query(dead_letter_count), query(database_bytes)
    cameras = query(camera_overview, now, now)
    expected = [c.camera for c in cameras if c.state not in IDLE][:MAX_CAMERAS]
    last = minutes[-1].rows if minutes and minutes[-1].minute_ms == minute - MINUTE_MS else 0
    _show_metrics(latencies["10 min"], last, dead_letters, size)
    st.subheader("Observations per minute", anchor=False)
    if minutes:
        no_data = [find_no_data(name, time) for name in expected]
        charts.draw_chart(
            charts.minute_bars(minutes, time, no_data), key="rate", alt="Observations per minute"
        )
        if expected:
            st.html(no_data_legend("empty: video"))
            st.caption(
                f"The strip shows the share of time without video or data, over {len(expected)} "
                "cameras."
            )
    else:
        st.write(f"No observation in the last {format_duration(RATE_MS)}.")
    left, right = two_columns()
    with left:
        _show_latencies(latencies)
    with right:
        _show_losses(gaps, dead_letters, now, {c.camera: c.title for c in cameras})
    st.caption(f"Database: {describe_database()}")


def _show_metrics(latencies: Sequence[Latency], last: int, dead_letters: int, size: int) -> None:
    p50 = max((clock.p50_ms for clock in latencies), default=None)
    p99 = max((clock.p99_ms for clock in latencies), default=None)
    explanation = (
        "From capture to stored row, over the last 10 min. Where cameras have different kinds of "
        "clock, of the slower kind."
    )
    columns = st.columns(5)
    columns[0].metric("Median latency", _or_dash(p50), border=True, help=explanation)
    columns[1].metric("99th percentile", _or_dash(p99), border=True, help=explanation)
    columns[2].metric("Observations, last minute", f"{last:,}", border=True)
    columns[3].metric("Dead letters", _format_capped(dead_letters), border=True)
    columns[4].metric("Database size", _format_size(size), border=True)


def _show_latencies(latencies: Mapping[str, Sequence[Latency]]) -> None:
    st.subheader("Latency from capture to stored row", anchor=False)
    clocks = sorted({clock.clock for found in latencies.values() for clock in found})
    rows = [row for clock in clocks for row in _clock_rows(clock, latencies)]
    columns = {
        "Clock": "uc-text",
        "Last": NUMBER,
        "Observations": NUMBER,
        "Median": NUMBER,
        "99th percentile": NUMBER,
    }
    if rows:
        st.html(table(columns, rows))
    else:
        st.write("No observation of a live camera was stored in the last 10 minutes.")
    st.caption(
        f"Computed from at most the newest {LATENCY_ROWS:,} observations. Recordings are excluded: "
        "their times are positions in a file."
    )


def _clock_rows(name: str, latencies: Mapping[str, Sequence[Latency]]) -> list[list[object]]:
    found = [(window, c) for window, clocks in latencies.items() for c in clocks if c.clock == name]
    rows: list[list[object]] = [
        ["", window, f"{c.rows:,}", format_duration(c.p50_ms), format_duration(c.p99_ms)]
        for window, c in found
    ]
    rows[0][0] = two_lines(name, CLOCKS.get(name, ""))
    return rows


def _show_losses(
    gaps: Sequence[GapRow], dead_letters: int, now: int, titles: Mapping[str, str]
) -> None:
    st.subheader("Lost events, last 24 h", anchor=False)
    rows = [
        (
            titles.get(gap.camera, gap.camera),
            two_lines(
                format_time_of_day(gap.since_ms, now, viewer_zone()),
                format_duration(gap.until_ms - gap.since_ms),
            ),
            f"{gap.events:,}",
            gap.reason,
        )
        for gap in gaps
    ]
    if rows:
        st.html(
            table(
                {"Camera": "", "Start, duration": NUMBER, "Events": NUMBER, "Reason": "uc-text"},
                rows,
            )
        )
    else:
        st.write("No event is known to be lost.")
    if dead_letters:
        st.caption(
            "Dead letters are records that could not be stored as rows; they are kept in the table "
            "dead_letters."
        )


def _or_dash(ms: int | None) -> str:
    return "–" if ms is None else format_duration(ms)


def _format_capped(count: int) -> str:
    return f"{count:,}" if count < COUNT_LIMIT else f"{COUNT_LIMIT:,} or more"


def _format_size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
