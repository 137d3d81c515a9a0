"""Health: how fast rows arrive, how many, what is missing, and how large the database is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard import charts
from dashboard.absence import absence
from dashboard.choices import Span
from dashboard.database import ask, now_ms, place
from dashboard.page import halves, live, zone
from dashboard.tables import NUMBER, absence_legend, table, two_lines
from dashboard.times import DAY_MS, HOUR_MS, MINUTE_MS, duration, time_of_day
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
"""Cameras that are not meant to give video."""
WATCHED = 64
"""Cameras of which the outages are drawn at most."""
CLOCKS = {
    "rtcp": "from the camera's own time on",
    "arrival": "from the frame's arrival here on",
}


def show() -> None:
    """The page."""
    live("Health", _draw)


def _draw() -> None:
    now = now_ms()
    delays = {name: ask(latency, now - ms, now) for name, ms in WINDOWS.items()}
    # The minute that is not over yet would look like a drop.
    minute = now - now % MINUTE_MS
    time = Span(minute - RATE_MS, minute)
    minutes = ask(rows_per_minute, time.since_ms, time.until_ms)
    gaps = ask(recent_gaps, now - DAY_MS, now)
    letters, size = ask(dead_letter_count), ask(database_bytes)
    cameras = ask(camera_overview, now, now)
    watched = [c.camera for c in cameras if c.state not in IDLE][:WATCHED]
    last = minutes[-1].rows if minutes and minutes[-1].minute_ms == minute - MINUTE_MS else 0
    _numbers(delays["10 min"], last, letters, size)
    st.subheader("Rows a minute", anchor=False)
    if minutes:
        missing = [absence(name, time) for name in watched]
        charts.draw(charts.minute_bars(minutes, time, missing), key="rate", alt="Rows per minute")
        st.html(absence_legend(f"plain: video; part of the time of {len(watched)} cameras"))
    else:
        st.write(f"No row was captured in the last {duration(RATE_MS)}.")
    left, right = halves()
    with left:
        _delays(delays)
    with right:
        _losses(gaps, letters, now)
    st.caption(f"Database: {place()}")


def _numbers(delays: Sequence[Latency], last: int, letters: int, size: int) -> None:
    p50 = max((clock.p50_ms for clock in delays), default=None)
    p99 = max((clock.p99_ms for clock in delays), default=None)
    told = "Capture to stored row, last 10 min; of the slower clock where there are two."
    places = st.columns(5)
    places[0].metric("Median delay", _or_dash(p50), border=True, help=told)
    places[1].metric("99% within", _or_dash(p99), border=True, help=told)
    places[2].metric("Rows, last minute", f"{last:,}", border=True)
    places[3].metric("Dead letters", _letters(letters), border=True)
    places[4].metric("Database", _bytes(size), border=True)


def _delays(delays: Mapping[str, Sequence[Latency]]) -> None:
    st.subheader("Capture to row", anchor=False)
    clocks = sorted({clock.clock for found in delays.values() for clock in found})
    rows = [row for clock in clocks for row in _clock(clock, delays)]
    columns = {"Clock": "uc-text", "Last": NUMBER, "Rows": NUMBER, "p50": NUMBER, "p99": NUMBER}
    if rows:
        st.html(table(columns, rows))
    else:
        st.write("No row of a live camera was stored in the last 10 minutes.")
    st.caption(
        f"From the newest {LATENCY_ROWS:,} rows of a window at most. Recordings are left out: "
        "their times are not the time of day."
    )


def _clock(name: str, delays: Mapping[str, Sequence[Latency]]) -> list[list[object]]:
    found = [(window, c) for window, clocks in delays.items() for c in clocks if c.clock == name]
    rows: list[list[object]] = [
        ["", window, f"{c.rows:,}", duration(c.p50_ms), duration(c.p99_ms)] for window, c in found
    ]
    rows[0][0] = two_lines(name, CLOCKS.get(name, ""))
    return rows


def _losses(gaps: Sequence[GapRow], letters: int, now: int) -> None:
    st.subheader("Missing in the last 24 h", anchor=False)
    rows = [
        (
            gap.camera,
            two_lines(
                time_of_day(gap.since_ms, now, zone()), duration(gap.until_ms - gap.since_ms)
            ),
            f"{gap.events:,}",
            gap.reason,
        )
        for gap in gaps
    ]
    if rows:
        st.html(
            table({"Camera": "", "From, for": NUMBER, "Events": NUMBER, "Why": "uc-text"}, rows)
        )
    else:
        st.write("No gap is known.")
    if letters:
        st.caption(
            "Dead letters are records that could not be read; table dead_letters keeps them."
        )


def _or_dash(ms: int | None) -> str:
    return "–" if ms is None else duration(ms)


def _letters(count: int) -> str:
    return f"{count:,}" if count < COUNT_LIMIT else f"{COUNT_LIMIT:,} or more"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
