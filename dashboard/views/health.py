"""The Health page: latency, throughput, losses, dead letters and the size of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import streamlit as st

from dashboard import charts
from dashboard.control import read_delivery
from dashboard.database import describe_database, now_ms, query
from dashboard.losses import PERIODS, show_dead_letters, show_losses
from dashboard.no_data import find_no_data
from dashboard.page import show_page, two_columns
from dashboard.selection import TimeRange
from dashboard.tables import LEAST, NUMBER, no_data_legend, table, two_lines
from dashboard.time_format import DAY_MS, HOUR_MS, MINUTE_MS, format_duration
from pipeline.camera_states import DISABLED, ENDED, REGISTERED, UNREGISTERED
from pipeline.store.queries import (
    Latency,
    MinuteRows,
    camera_overview,
    database_bytes,
    dead_letter_count,
    latency,
    loss_totals,
    recent_dead_letters,
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
    losses = {name: query(loss_totals, now - ms, now) for name, ms in PERIODS.items()}
    dead_letters, size = query(dead_letter_count), query(database_bytes)
    dead = query(recent_dead_letters) if dead_letters else []
    cameras = query(camera_overview, now, now)
    expected = [c.camera for c in cameras if c.state not in IDLE][:MAX_CAMERAS]
    last = minutes[-1].rows if minutes and minutes[-1].minute_ms == minute - MINUTE_MS else 0
    titles = {c.camera: c.title for c in cameras}
    _show_metrics(latencies["10 min"], last, dead_letters, size)
    _show_rate(minutes, time, expected)
    left, right = two_columns()
    with left:
        _show_delivery(latencies["1 min"], last, dead_letters)
        _show_latencies(latencies)
    with right:
        show_losses(losses, gaps, cameras, titles)
    show_dead_letters(dead, dead_letters)
    st.caption(f"Database: {describe_database()}. Dashboard: undercam {_version()}.")


def _show_rate(minutes: Sequence[MinuteRows], time: TimeRange, expected: Sequence[str]) -> None:
    st.subheader("Observations per minute", anchor=False)
    if not minutes:
        st.write(f"No observation in the last {format_duration(RATE_MS)}.")
        return
    no_data = [find_no_data(name, time, each_minute=True) for name in expected]
    charts.draw_chart(
        charts.minute_bars(minutes, time, no_data), key="rate", alt="Observations per minute"
    )
    if expected:
        st.html(no_data_legend("empty: video"))
        st.caption(
            f"The strip shows the share of time without video or data, over {len(expected)} "
            "cameras."
        )


def _show_delivery(latencies: Sequence[Latency], last: int, dead_letters: int) -> None:
    """Where events wait on their way to the database."""
    st.subheader("Delivery", anchor=False)
    delivery = read_delivery()
    waiting = "–" if delivery is None else f"{delivery['waiting']:,}"
    fault = "" if delivery is None else delivery["fault"]
    unseen = "no control interface answers: see control.url"
    p99 = max((clock.p99_ms for clock in latencies), default=None)
    rows: list[list[object]] = [
        ["Outboxes", two_lines(f"{waiting} events wait", fault or ("" if delivery else unseen))],
        ["Bus", "see the metric undercam_outbox_delivery_up of each relay"],
        ["Store", f"{last:,} rows in the last minute, the slowest after {_or_dash(p99)}"],
        ["Refused", f"{_format_capped(dead_letters)} dead letters"],
    ]
    st.html(table({"Stage": "", "State": "uc-text"}, rows))


def _show_metrics(latencies: Sequence[Latency], last: int, dead_letters: int, size: int) -> None:
    p50 = max((clock.p50_ms for clock in latencies), default=None)
    p99 = max((clock.p99_ms for clock in latencies), default=None)
    explanation = (
        "From capture to stored row, over the last 10 min. Where cameras have different kinds of "
        "clock, of the slower kind."
    )
    with st.container(key="metrics"):
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
        "Last": f"{NUMBER} {LEAST}",
        "Observations": f"{NUMBER} {LEAST}",
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


def _or_dash(ms: int | None) -> str:
    return "–" if ms is None else format_duration(ms)


def _format_capped(count: int) -> str:
    return f"{count:,}" if count < COUNT_LIMIT else f"{COUNT_LIMIT:,} or more"


def _version() -> str:
    try:
        return version("undercam")
    except PackageNotFoundError:
        return "of a checkout"


def _format_size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
