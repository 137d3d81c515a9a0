"""The Tracks page: recent tracks, and the observations of the selected one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import charts
from dashboard.database import now_ms, query
from dashboard.no_data import NoData, explain_no_faces, find_no_data
from dashboard.page import NO_CAMERA, escape_markdown, show_notice, show_page, two_columns
from dashboard.selectable_table import show_selectable_table
from dashboard.selection import (
    EVERY_CAMERA,
    TimeRange,
    select_camera,
    select_window,
    selected_range,
)
from dashboard.tables import (
    NUMBER,
    Markup,
    label_legend,
    no_data_legend,
    share_table,
    stacked_bar,
    swatch,
    table,
    to_html,
    two_lines,
)
from dashboard.time_format import SECOND_MS, format_duration
from models.emotions import EMOTIONS
from pipeline.store.queries import (
    Observation,
    Shares,
    Track,
    camera_overview,
    find_track,
    list_runs,
    recent_tracks,
    track_observations,
    track_shares,
)

LISTED = 50
IN_VIEW_MS = 30 * SECOND_MS
"""A track without an end counts as in view for this long: its camera may have died."""
COLUMNS = {
    "Track": "",
    "First seen": NUMBER,
    "Duration": NUMBER,
    "Observations": NUMBER,
    "Most probable": "",
    "Mean probabilities": "uc-wide",
}
NO_FACE = ("No face was seen in this time range.", "Choose a longer time range.")
SELECTED = "track"
"""The query parameter that holds the id of the selected track."""


@dataclass(frozen=True)
class TrackDetails:
    """A track with everything that is shown of it."""

    track: Track
    observations: Sequence[Observation]
    shares: Shares
    time: TimeRange
    no_data: NoData


def show() -> None:
    """The page."""
    show_page("Tracks", _draw)


def _draw() -> None:
    titles = {c.camera: c.title for c in query(camera_overview, now_ms(), now_ms())}
    if not titles:
        show_notice(*NO_CAMERA)
        return
    left, right = st.columns([1, 2])
    with left:
        camera = select_camera({EVERY_CAMERA: EVERY_CAMERA} | titles, key="only")
    with right:
        time = selected_range(camera, select_window())
    only = None if camera == EVERY_CAMERA else camera
    tracks = query(recent_tracks, time.since_ms, time.until_ms, camera=only, limit=LISTED)
    overview = query(camera_overview, time.since_ms, time.until_ms)
    total = sum(c.tracks for c in overview if only in (None, c.camera))
    details = _load_details(st.query_params.get(SELECTED, ""))
    left, right = two_columns(11, 9)
    no_data = find_no_data(camera, time, time.run) if only else NoData()
    with left:
        _show_list(
            tracks,
            {c.camera: c.display_name for c in overview},
            total,
            time,
            explain_no_faces(camera, no_data, time) if only else NO_FACE,
        )
    with right:
        st.subheader("Selected track", anchor=False)
        if details:
            _show_details(details, titles.get(details.track.camera, details.track.camera))
        else:
            show_notice("No track is selected.", "Select one from the list.")


def _show_list(
    tracks: Sequence[Track],
    names: Mapping[str, str],
    total: int,
    time: TimeRange,
    no_face: tuple[str, str],
) -> None:
    st.subheader("Recent tracks", anchor=False)
    if not tracks:
        show_notice(*no_face)
        return
    st.caption(f"The last {len(tracks)} of {total:,}. Select one to see its observations.")
    with st.container(height=590, border=False, key="tracks"):
        rows = [_row(names.get(track.camera, ""), track, time) for track in tracks]
        keys = [track.id for track in tracks]
        show_selectable_table(table(COLUMNS, rows, keys, st.query_params.get(SELECTED)), SELECTED)


def _row(name: str, track: Track, time: TimeRange) -> list[object]:
    button = Markup(f"<button>{to_html(name or track.camera)} · {track.track}</button>")
    is_in_view = track.phase != "end" and now_ms() - track.ended_ms < IN_VIEW_MS
    more = ", ".join(filter(None, (track.camera if name else "", "in view" if is_in_view else "")))
    return [
        two_lines(button, more) if more else button,
        time.format(track.started_ms),
        format_duration(track.duration_ms),
        f"{track.observations:,}",
        swatch(track.label),
        stacked_bar(dict(zip(EMOTIONS, track.mean, strict=True))),
    ]


def _load_details(track_id: str) -> TrackDetails | None:
    track = query(find_track, track_id)
    if track is None:
        return None
    clocks = {run.run: run.clock for run in query(list_runs, track.camera)}
    is_recording = clocks.get(track.run) == "media"
    time = TimeRange(
        track.started_ms, track.ended_ms + 1, is_recording, track.run if is_recording else None
    )
    no_data = find_no_data(track.camera, time, track.run)
    return TrackDetails(
        track, query(track_observations, track), query(track_shares, track), time, no_data
    )


def _show_details(details: TrackDetails, title: str) -> None:
    track, time = details.track, details.time
    st.caption(
        f"**{escape_markdown(title)} · {track.track}** from {time.format(track.started_ms)} to "
        f"{time.format(track.ended_ms)}, {format_duration(track.duration_ms)}, run {track.run}"
    )
    if not details.observations:
        show_notice("No observation of this track is stored yet.", "Wait, or select another one.")
        return
    st.html(label_legend())
    if details.no_data.intervals():
        st.html(no_data_legend("empty: video, but no face"))
    charts.draw_chart(
        charts.track_timeline(details.observations, time, details.no_data),
        key="observations",
        alt=f"Probabilities of the eight expressions of {title}, track {track.track}",
    )
    st.html(share_table(details.shares))
