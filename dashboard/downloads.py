"""A file of the tracks that a list shows, made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard.database import query
from dashboard.selection import TimeRange
from pipeline.store.export import list_columns, to_csv, to_track_rows
from pipeline.store.queries import TrackFilter, search_tracks

MOST_ROWS = 10_000


def offer_tracks(wanted: TrackFilter, time: TimeRange) -> None:
    """A button that downloads the tracks as CSV, at most MOST_ROWS, the last seen first."""

    def make() -> bytes:
        found = query(
            search_tracks, time.since_ms, time.until_ms, wanted, sort="last", limit=MOST_ROWS
        )
        return b"".join(to_csv(list_columns("tracks"), [to_track_rows(found)]))

    data: Callable[[], bytes] = make
    st.download_button(
        "CSV",
        data,
        file_name="tracks.csv",
        mime="text/csv",
        on_click="ignore",
        help=f"These tracks as a file, at most {MOST_ROWS:,}. More, and observations: "
        "undercam export-data, or the API.",
        type="tertiary",
    )
