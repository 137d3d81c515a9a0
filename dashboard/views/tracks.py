"""Tracks: the faces seen lately, and what one of them showed from look to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import charts
from dashboard.absence import Absence, absence, no_face
from dashboard.choices import EVERY_CAMERA, Span, choose_camera, choose_window, span
from dashboard.chooser import choose
from dashboard.database import ask, now_ms
from dashboard.page import NO_CAMERA, halves, live, notice
from dashboard.tables import (
    NUMBER,
    Markup,
    absence_legend,
    legend,
    safe,
    share_table,
    stacked,
    swatch,
    table,
    two_lines,
)
from dashboard.times import SECOND_MS, duration
from models.emotions import EMOTIONS
from pipeline.store.queries import (
    Look,
    Shares,
    Track,
    camera_overview,
    find_track,
    list_runs,
    recent_tracks,
    track_looks,
    track_shares,
)

LISTED = 50
STILL_MS = 30 * SECOND_MS
"""A track that was not ended is on screen for so long: its camera may have died."""
COLUMNS = {
    "Face": "",
    "First seen": NUMBER,
    "For": NUMBER,
    "Looks": NUMBER,
    "Most probable": "",
    "Mean": "uc-wide",
}
NOBODY = ("No face was seen in this time.", "Choose a longer window.")
CHOSEN = "track"
"""The parameter of the page's address that holds the id of the chosen track."""


@dataclass(frozen=True)
class Face:
    """The chosen track with all that is shown of it."""

    track: Track
    looks: Sequence[Look]
    shares: Shares
    time: Span
    missing: Absence


def show() -> None:
    """The page."""
    live("Tracks", _draw)


def _draw() -> None:
    cameras = [c.camera for c in ask(camera_overview, now_ms(), now_ms())]
    if not cameras:
        notice(*NO_CAMERA)
        return
    left, right = st.columns([1, 2])
    with left:
        camera = choose_camera([EVERY_CAMERA, *cameras], key="only")
    with right:
        time = span(camera, choose_window())
    only = None if camera == EVERY_CAMERA else camera
    tracks = ask(recent_tracks, time.since_ms, time.until_ms, camera=only, limit=LISTED)
    overview = ask(camera_overview, time.since_ms, time.until_ms)
    total = sum(c.tracks for c in overview if only in (None, c.camera))
    face = _face(st.query_params.get(CHOSEN, ""))
    left, right = halves(11, 9)
    missing = absence(camera, time, time.run) if only else Absence()
    with left:
        _list(tracks, total, time, no_face(camera, missing, time) if only else NOBODY)
    with right:
        st.subheader("One face, look by look", anchor=False)
        if face:
            _one(face)
        else:
            notice("No face is chosen.", "Choose one from the list.")


def _list(tracks: Sequence[Track], total: int, time: Span, nobody: tuple[str, str]) -> None:
    st.subheader("Seen last", anchor=False)
    if not tracks:
        notice(*nobody)
        return
    st.caption(f"The last {len(tracks)} of {total:,}. Choose one to see it look by look.")
    with st.container(height=590, border=False, key="tracks"):
        rows = [_row(track, time) for track in tracks]
        keys = [track.id for track in tracks]
        choose(table(COLUMNS, rows, keys, st.query_params.get(CHOSEN)), CHOSEN)


def _row(track: Track, time: Span) -> list[object]:
    name = Markup(f"<button>{safe(track.camera)} · {track.track}</button>")
    still = track.phase != "end" and now_ms() - track.ended_ms < STILL_MS
    return [
        two_lines(name, "on screen") if still else name,
        time.time(track.started_ms),
        duration(track.duration_ms),
        f"{track.observations:,}",
        swatch(track.label),
        stacked(dict(zip(EMOTIONS, track.mean, strict=True))),
    ]


def _face(chosen: str) -> Face | None:
    track = ask(find_track, chosen)
    if track is None:
        return None
    clocks = {run.run: run.clock for run in ask(list_runs, track.camera)}
    recorded = clocks.get(track.run) == "media"
    time = Span(track.started_ms, track.ended_ms + 1, recorded, track.run if recorded else None)
    missing = absence(track.camera, time, track.run)
    return Face(track, ask(track_looks, track), ask(track_shares, track), time, missing)


def _one(face: Face) -> None:
    track, time = face.track, face.time
    st.caption(
        f"**{track.camera} · {track.track}** from {time.time(track.started_ms)} to "
        f"{time.time(track.ended_ms)}, {duration(track.duration_ms)}, run {track.run}"
    )
    if not face.looks:
        notice("No look of this face is stored.", "Wait for it, or choose another from the list.")
        return
    st.html(legend())
    if face.missing.bands():
        st.html(absence_legend("plain: video, and no face"))
    charts.draw(
        charts.track_timeline(face.looks, time, face.missing),
        key="looks",
        alt=f"Probabilities of the eight expressions of {track.camera}, face {track.track}",
    )
    st.html(share_table(face.shares))
