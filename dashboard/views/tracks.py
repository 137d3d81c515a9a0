"""The Tracks page: tracks found by what was seen of them, and the selected one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

from dashboard.database import now_ms, query
from dashboard.downloads import offer_tracks
from dashboard.filters import (
    read_page,
    read_parameter,
    select_page,
    select_parameter,
    set_parameters,
)
from dashboard.no_data import NoData, explain_no_faces, find_no_data
from dashboard.page import NO_CAMERA, show_notice, show_page, two_columns, viewer_zone
from dashboard.selectable_table import show_selectable_table
from dashboard.selection import EVERY_CAMERA, TimeRange, find_range, select_camera
from dashboard.tables import (
    MINOR,
    NUMBER,
    Markup,
    label_legend,
    label_shares,
    stacked_bar,
    swatch,
    table,
    to_html,
    two_lines,
)
from dashboard.time_choice import select_time, show_time_tools
from dashboard.time_format import SECOND_MS, format_clock, format_day, format_duration
from dashboard.track_details import load_details, show_details
from models.emotions import EMOTIONS, UNKNOWN
from pipeline.store.queries import (
    FoundTracks,
    Shares,
    TrackFilter,
    TrackSummary,
    camera_overview,
    find_tracks,
    list_modes,
)
from pipeline.store.queries.track_search import BLURRED, COUNT_LIMIT, DARK, SMALL_PX

LISTED = 25
"""Tracks on one page of the list."""
IN_VIEW_MS = 30 * SECOND_MS
"""A track without an end counts as in view for this long: its camera may have died."""
COLUMNS = {
    "Track": "",
    "Last seen": NUMBER,
    "Duration": NUMBER,
    "Negative": f"{NUMBER} {MINOR}",
    "Label": "",
    "Confidence": f"{NUMBER} {MINOR}",
    "Labels": "uc-wide",
}
NO_FACE = ("No track in this time range fits.", "Choose a longer time range, or fewer filters.")
SELECTED = "track"
"""The query parameter that holds the id of the selected track."""
ANY = {"": "any"}
FILTERS: dict[str, tuple[str, dict[str, str]]] = {
    "label": ("Label", ANY | {label: label for label in (*EMOTIONS, UNKNOWN)}),
    "confidence": ("Confidence", ANY | {f"0.{n}": f"{n}0 % or more" for n in (5, 6, 7, 8, 9)}),
    "duration": (
        "Duration",
        ANY | {"5": "5 s or more", "30": "30 s or more", "120": "2 min or more"},
    ),
    "negative": (
        "Negative for",
        ANY | {"10": "10 s or more", "30": "30 s or more", "120": "2 min or more"},
    ),
    "quality": (
        "Image",
        ANY | {"good": "good", "blurred": "blurred", "dark": "dark", "small": "small"},
    ),
    "sort": (
        "Sort by",
        {
            "last": "last seen",
            "first": "first seen",
            "duration": "longest",
            "negative": "longest negative",
            "confidence": "most confident",
            "uncertainty": "least certain",
            "blur": "most blurred",
        },
    ),
}
"""Query parameter: its title, and value to shown text; the first is the default."""
MODE = "mode"
SAVED: dict[str, dict[str, str]] = {
    "Negative for longer than 30 s": {"negative": "30", "sort": "negative"},
    "Least certain": {"duration": "5", "sort": "uncertainty"},
    "Blurred images": {"quality": "blurred", "sort": "blur"},
    "Everything": {},
}
"""Saved queries: the parameters that they set."""
EXPLANATION = (
    "Label: the most frequent smoothed one. Negative: how long it was sadness, anger, disgust, "
    "fear or contempt; the duration times the share of such observations. Image: mean blur of "
    f"{BLURRED:g} or more, mean light below {DARK:g}, mean size below {SMALL_PX:g} px; good is "
    "none of these."
)


def show() -> None:
    """The page."""
    show_page("Tracks", _draw)


def _draw() -> None:
    cameras = query(camera_overview, now_ms(), now_ms())
    titles = {c.camera: c.title for c in cameras}
    if not titles:
        show_notice(*NO_CAMERA)
        return
    left, right = st.columns([1, 3])
    with left:
        camera = select_camera({EVERY_CAMERA: EVERY_CAMERA} | titles)
    with right:
        choice = select_time()
    time = find_range(camera, choice)
    if not time.is_recording:
        show_time_tools(choice)
    wanted = _select_filter(None if camera == EVERY_CAMERA else camera, time.run)
    details = load_details(st.query_params.get(SELECTED, ""))
    left, right = two_columns(11, 9)
    with left:
        st.subheader("Tracks found", anchor=False)
        _show_list(wanted, time, {c.camera: c.display_name for c in cameras})
    with right:
        st.subheader("Selected track", anchor=False)
        if details:
            show_details(details, titles.get(details.track.camera, details.track.camera))
        else:
            show_notice("No track is selected.", "Select one from the list.")


def _select_filter(camera: str | None, run: str | None) -> TrackFilter:
    """The saved queries and the filters, below each other."""
    modes = ANY | {mode: mode for mode in query(list_modes)}
    known = {name: options for name, (_, options) in FILTERS.items()} | {MODE: modes}
    with st.container(horizontal=True, key="saved"):
        for title, values in SAVED.items():
            use = partial(set_parameters, values, known)
            st.button(title, on_click=use, key=f"saved {title}", type="tertiary")
    with st.container(horizontal=True, key="filters"):
        for name, (title, options) in FILTERS.items():
            select_parameter(title, name, options)
        select_parameter("Mode", MODE, modes)
    found = {name: read_parameter(name, options) for name, options in known.items()}
    return TrackFilter(
        camera=camera,
        run=run,
        label=found["label"] or None,
        least_confidence=float(found["confidence"] or 0),
        least_duration_ms=int(found["duration"] or 0) * SECOND_MS,
        negative_ms=int(found["negative"] or 0) * SECOND_MS,
        mode=found[MODE] or None,
        quality=found["quality"] or None,  # type: ignore[arg-type]
    )


def _show_list(wanted: TrackFilter, time: TimeRange, names: Mapping[str, str]) -> None:
    first = read_page() * LISTED
    found = _find(wanted, time, first)
    if found.total and not found.tracks:  # a page of a list that was longer
        first = 0
        found = _find(wanted, time, first)
    if not found.total:
        show_notice(*_explain_none(wanted, time))
        return
    with st.container(horizontal=True, vertical_alignment="center", key="pages"):
        many = "10,000 or more" if found.total == COUNT_LIMIT else f"{found.total:,}"
        select_page(found.total, LISTED, first // LISTED)
        last = first + len(found.tracks)
        st.caption(f"{first + 1:,} – {last:,} of {many}. Select one to see its observations.")
        offer_tracks(wanted, time)
    rows = [_row(names.get(track.camera, ""), track, time) for track in found.tracks]
    keys = [track.id for track in found.tracks]
    shown = table(COLUMNS, rows, keys, st.query_params.get(SELECTED))
    show_selectable_table(shown, SELECTED)
    st.html(label_legend())
    st.caption(EXPLANATION)


def _find(wanted: TrackFilter, time: TimeRange, first: int) -> FoundTracks:
    return query(
        find_tracks,
        time.since_ms,
        time.until_ms,
        wanted,
        sort=read_parameter("sort", FILTERS["sort"][1]),  # type: ignore[arg-type]
        limit=LISTED,
        offset=first,
    )


def _explain_none(wanted: TrackFilter, time: TimeRange) -> Sequence[str]:
    if wanted.camera is None or wanted != TrackFilter(wanted.camera, wanted.run):
        return NO_FACE
    no_data: NoData = find_no_data(wanted.camera, time, time.run)
    return explain_no_faces(wanted.camera, no_data, time)


def _moment(ms: int, time: TimeRange) -> object:
    """Time of day above the day; or the position in a recording."""
    if time.is_recording:
        return time.format(ms)
    zone = viewer_zone()
    return two_lines(format_clock(ms, zone), format_day(ms, zone))


def _row(name: str, track: TrackSummary, time: TimeRange) -> list[object]:
    button = Markup(f"<button>{to_html(name or track.camera)} · {track.track}</button>")
    is_in_view = track.phase not in ("end", "") and now_ms() - track.last_ms < IN_VIEW_MS
    more = ", ".join(filter(None, (track.camera if name else "", "in view" if is_in_view else "")))
    shares = label_shares(Shares(track.observations, track.counts, ()))
    return [
        two_lines(button, more) if more else button,
        _moment(track.last_ms, time),
        format_duration(track.duration_ms),
        format_duration(track.negative_ms) if track.negative_ms else "–",
        swatch(track.label),
        f"{track.confidence:.0%}",
        stacked_bar(shares),
    ]
