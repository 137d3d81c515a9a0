"""What was lost and why: events by reason and period, frames by cause, and dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import streamlit as st

from dashboard.page import viewer_zone
from dashboard.tables import NUMBER, Markup, table, two_lines
from dashboard.time_format import DAY_MS, HOUR_MS, format_duration, format_moment
from pipeline.store.queries import CameraOverview, DeadLetterRow, GapRow, LossTotal

PERIODS = {"1 h": HOUR_MS, "24 h": DAY_MS, "7 days": 7 * DAY_MS}
LISTED = 8
"""At most this many single losses are listed."""


def show_losses(
    losses: Mapping[str, Sequence[LossTotal]],
    gaps: Sequence[GapRow],
    cameras: Sequence[CameraOverview],
    titles: Mapping[str, str],
) -> None:
    """Events by reason and period, the single losses of a day, and frames shed by cause."""
    st.subheader("Lost events", anchor=False)
    reasons = list(dict.fromkeys(loss.reason for found in losses.values() for loss in found))
    counts = {name: {loss.reason: loss.events for loss in found} for name, found in losses.items()}
    if reasons:
        rows = [
            [reason, *(f"{counts[name].get(reason, 0):,}" for name in losses)] for reason in reasons
        ]
        st.html(table({"Reason": "uc-text"} | dict.fromkeys(losses, NUMBER), rows))
        st.html(_gap_table(gaps[:LISTED], titles))
    else:
        st.write("No event is known to be lost.")
    shed: Counter[str] = Counter()
    for camera in cameras:
        shed.update(camera.shed)
    if shed:
        st.html("<h3>Frames shed, by cause</h3>")
        found = [(cause.replace("_", " "), f"{number:,}") for cause, number in shed.most_common()]
        st.html(table({"Cause": "uc-text", "Frames": NUMBER}, found))
        st.caption("Of the current run of every camera.")


def show_dead_letters(found: Sequence[DeadLetterRow], total: int) -> None:
    """The newest dead letters, each with the begin of its bytes as text."""
    if not total:
        return
    st.subheader("Dead letters", anchor=False)
    st.caption(
        "Records that could not be stored as rows. They are kept in the table dead_letters; an "
        "admin can store those that a later version reads."
    )
    rows = [
        (
            two_lines(format_moment(one.stored_ms, viewer_zone()), one.origin),
            two_lines(one.reason, _payload(one)),
        )
        for one in found
    ]
    st.html(table({"Stored, origin": "uc-text", "Reason, record": "uc-text"}, rows))


def _gap_table(gaps: Sequence[GapRow], titles: Mapping[str, str]) -> Markup:
    rows = [
        (
            titles.get(gap.camera, gap.camera),
            two_lines(
                format_moment(gap.since_ms, viewer_zone()),
                format_duration(gap.until_ms - gap.since_ms),
            ),
            f"{gap.events:,}",
            gap.reason,
        )
        for gap in gaps
    ]
    columns = {
        "Last 24 h: camera": "",
        "Start, duration": NUMBER,
        "Events": NUMBER,
        "Reason": "uc-text",
    }
    return table(columns, rows)


def _payload(one: DeadLetterRow) -> Markup:
    text = escape(one.start.decode("utf-8", "replace").replace("\0", "�"))
    more = f" (the first {len(one.start):,} bytes)" if one.size > len(one.start) else ""
    return Markup(
        f"<details><summary>{one.size:,} bytes{more}</summary><code>{text}</code></details>"
    )
