"""The Overview page: what fails, then what every camera sees now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard.database import now_ms, query
from dashboard.no_data import NoData, find_no_data
from dashboard.page import NO_CAMERA, show_notice, show_page
from dashboard.selectable_table import show_linked_table
from dashboard.selection import TimeRange
from dashboard.tables import (
    LABELS,
    MINOR,
    NUMBER,
    Markup,
    label_shares,
    link,
    no_data_legend,
    no_data_strip,
    stacked_bar,
    state_badge,
    swatch,
    table,
    to_html,
    two_lines,
)
from dashboard.time_format import HOUR_MS, MINUTE_MS, SECOND_MS, format_ago, format_duration
from pipeline.camera_states import (
    CONNECTING,
    FAILED,
    LAGGING,
    OFFLINE,
    ONLINE,
    QUARANTINED,
    REFUSED,
    UNKNOWN,
    VIDEO_STATES,
)
from pipeline.store.queries import (
    CameraOverview,
    Latency,
    ModeUse,
    Shares,
    camera_overview,
    count_stored,
    expression_shares,
    latency,
    modes_in_use,
)

IN_VIEW_MS = 5 * SECOND_MS
"""A face counts as in view for this long after its last observation: rows arrive late."""
SHARES_MS = 10 * MINUTE_MS
STRIP_MS, MAX_STRIPS = HOUR_MS, 32
"""The strips of the times without video: their length, and for how many cameras they are drawn."""
FAILING = (FAILED, REFUSED, QUARANTINED, OFFLINE, UNKNOWN)
ORDER = (*FAILING, LAGGING, CONNECTING, ONLINE)
"""The states by how urgent they are; the others, of cameras that are not expected to have video,
come last."""
COLUMNS = {
    "Camera": "",
    "State": "uc-text",
    "Last hour": f"uc-strip-cell {MINOR}",
    "Faces": NUMBER,
    "Expressions, 10 min": "uc-wide",
    "Tracks, 1 h": NUMBER,
    "Frames/s": f"{NUMBER} {MINOR}",
    "Lag": NUMBER,
    "Frames shed": f"{NUMBER} {MINOR}",
    "Last update": f"{NUMBER} {MINOR}",
}


def show() -> None:
    """The page."""
    show_page("Overview", _draw)


def _draw() -> None:
    now = now_ms()
    cameras = query(camera_overview, now - HOUR_MS, now, screen_ms=IN_VIEW_MS)
    if not cameras:
        show_notice(*NO_CAMERA)
        return
    cameras.sort(key=lambda camera: (_urgency(camera), camera.title.lower()))
    shares = query(expression_shares, now - SHARES_MS, now)
    stored = query(count_stored, now - MINUTE_MS, now)
    latencies = query(latency, now - MINUTE_MS, now)
    modes = query(modes_in_use, now - SHARES_MS, now)
    minute_start = now - now % MINUTE_MS
    hour = TimeRange(minute_start - STRIP_MS, minute_start)
    drawn = [c.camera for c in cameras[:MAX_STRIPS]]
    strips = {camera: find_no_data(camera, hour, each_minute=True) for camera in drawn}
    st.html(_state_counts(cameras))
    _show_metrics(cameras, stored, latencies)
    st.html(_all_expressions(shares, modes))
    st.subheader("Cameras", anchor=False)
    rows = [_row(c, now, shares.get(c.camera), strips.get(c.camera), hour) for c in cameras]
    show_linked_table(table(COLUMNS, rows), "overview")
    st.html(no_data_legend("video"))


def is_failing(camera: CameraOverview) -> bool:
    """Whether it should have video and has none; one that never had a status is not expected to."""
    return camera.state in FAILING and camera.reported_ms is not None


def _urgency(camera: CameraOverview) -> int:
    is_known = camera.state in ORDER and (camera.state not in FAILING or is_failing(camera))
    return ORDER.index(camera.state) if is_known else len(ORDER)


def _state_counts(cameras: Sequence[CameraOverview]) -> Markup:
    """How many cameras are in each state, the most urgent first."""
    counts = Counter(camera.state for camera in cameras)
    failing = sum(is_failing(camera) for camera in cameras)
    states = sorted(counts, key=lambda s: ORDER.index(s) if s in ORDER else len(ORDER))
    chips = "".join(f"<span>{counts[state]} {state_badge(state)}</span>" for state in states)
    verb = "needs" if failing == 1 else "need"
    word = "camera" if failing == 1 else "cameras"
    alarm = (
        f'<strong class="uc-alarm" role="status">{failing} {word} {verb} attention</strong>'
        if failing
        else '<strong role="status">All cameras work</strong>'
    )
    return Markup(f'<div class="uc-states">{alarm}{chips}</div>')


def _show_metrics(
    cameras: Sequence[CameraOverview],
    stored: int,
    latencies: Sequence[Latency],
) -> None:
    online = sum(camera.state in VIDEO_STATES for camera in cameras)
    with st.container(key="metrics"):
        columns = st.columns(5)
    columns[0].metric("Cameras online", f"{online} of {len(cameras)}", border=True)
    columns[1].metric(
        "Faces in view",
        sum(camera.faces for camera in cameras),
        border=True,
        help=f"Tracks with an observation in the last {IN_VIEW_MS // SECOND_MS} s.",
    )
    columns[2].metric(
        "Observations, last minute",
        f"{stored:,}",
        border=True,
        help="An observation is one classified face in one frame.",
    )
    meaning = "From capture to stored row, over the last minute. Details are on the Health page."
    for column, name, found in (
        (columns[3], "Median latency", [clock.p50_ms for clock in latencies]),
        (columns[4], "99th percentile", [clock.p99_ms for clock in latencies]),
    ):
        shown = format_duration(max(found)) if found else "–"
        column.metric(name, shown, border=True, help=meaning)


def _all_expressions(shares: Mapping[str, Shares], modes: Sequence[ModeUse]) -> Markup:
    """The expressions of all cameras together, and the modes that classified them."""
    counts: Counter[str] = Counter()
    for seen in shares.values():
        counts.update(seen.counts)
    total = sum(counts.values())
    if not total:
        return Markup("<p>No face was observed in the last 10 minutes.</p>")
    parts = {label: counts[label] / total for label in LABELS}
    named = "".join(f"<span>{swatch(label)} {parts[label]:.0%}</span>" for label in LABELS)
    by = ", ".join(f"{to_html(use.model)} as {to_html(use.mode)} {use.share:.0%}" for use in modes)
    return Markup(
        f'<h2 class="uc-h2">Expressions of all cameras, last 10 minutes</h2>{stacked_bar(parts)}'
        f'<div class="uc-legend">{named}</div>'
        + (f'<p class="uc-quiet">Classified by {by}</p>' if by else "")
    )


def _row(
    camera: CameraOverview,
    now: int,
    shares: Shares | None,
    no_data: NoData | None,
    hour: TimeRange,
) -> list[object]:
    return [
        _name(camera),
        _state(camera, now),
        no_data_strip(no_data, hour.since_ms, hour.until_ms) if no_data else "",
        camera.faces,
        stacked_bar(label_shares(shares)) if shares else "",
        f"{camera.tracks:,}",
        "–" if camera.fps is None else f"{camera.fps:.1f}",
        "–" if camera.lag_ms is None else format_duration(camera.lag_ms),
        _shed_frames(camera.shed),
        "–" if camera.last_update_ms is None else format_ago(camera.last_update_ms, now),
    ]


def _state(camera: CameraOverview, now: int) -> Markup:
    badge = state_badge(camera.state, is_alarm=is_failing(camera))
    since = camera.since_ms
    parts = ["" if since is None else f"for {format_duration(max(0, now - since))}", camera.reason]
    more = ", ".join(filter(None, parts))
    return two_lines(badge, more) if more else badge


def _name(camera: CameraOverview) -> Markup:
    name = link(camera.display_name or camera.camera, "expressions", {"camera": camera.camera})
    details = [camera.camera if camera.display_name else "", camera.purpose]
    lines = Markup("<br>".join(to_html(line) for line in details if line))
    return two_lines(name, lines) if lines else name


def _shed_frames(shed: dict[str, int]) -> object:
    total = sum(shed.values())
    causes = sorted(filter(shed.get, shed), key=lambda cause: -shed[cause])
    lines = (to_html(f"{cause.replace('_', ' ')} {shed[cause]:,}") for cause in causes)
    return two_lines(f"{total:,}", Markup("<br>".join(lines))) if total else "0"
