"""The selected track: its figures, its chart, how often its label is right, and who classified it.

No image: none is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

import streamlit as st

from dashboard import charts
from dashboard.database import query
from dashboard.no_data import NoData, find_no_data
from dashboard.page import escape_markdown, show_notice
from dashboard.selection import TimeRange
from dashboard.tables import (
    NUMBER,
    Markup,
    label_legend,
    no_data_legend,
    share_table,
    swatch,
    table,
    two_lines,
)
from dashboard.time_format import format_duration
from dashboard.track_chart import name_ways, track_timeline, way_of
from models.card import ModelCard
from models.emotions import EMOTIONS
from models.zoo_cards import find_card
from pipeline.store.queries import (
    Observation,
    Shares,
    Track,
    TrackSummary,
    find_totals,
    find_track,
    list_runs,
    track_observations,
    track_shares,
)

CLEAN, DEGRADED = "validation cut", "validation cut, udc"
"""How the measurements of a card are called: on clean faces, and under simulated displays."""


@dataclass(frozen=True)
class TrackDetails:
    """A track with everything that is shown of it; `totals` is None where only its summary is
    left."""

    track: Track
    totals: TrackSummary | None
    observations: Sequence[Observation]
    shares: Shares
    time: TimeRange
    no_data: NoData


def load_details(track_id: str) -> TrackDetails | None:
    """The details of the track with this id; None where it is not stored."""
    track = query(find_track, track_id)
    if track is None:
        return None
    clocks = {run.run: run.clock for run in query(list_runs, track.camera)}
    is_recording = clocks.get(track.run) == "media"
    time = TimeRange(
        track.started_ms, track.ended_ms + 1, is_recording, track.run if is_recording else None
    )
    return TrackDetails(
        track,
        query(find_totals, track_id),
        query(track_observations, track),
        query(track_shares, track),
        time,
        find_no_data(track.camera, time, track.run),
    )


def show_details(details: TrackDetails, title: str) -> None:
    """Everything of a track, below each other."""
    track, time = details.track, details.time
    st.caption(
        f"**{escape_markdown(title)} · {track.track}** from {time.format(track.started_ms)} to "
        f"{time.format(track.ended_ms)}, {format_duration(track.duration_ms)}, run {track.run}"
    )
    if not details.observations:
        show_notice("No observation of this track is stored yet.", "Wait, or select another one.")
        return
    if details.totals:
        st.html(_figures(details.totals))
    st.html(label_legend())
    if details.no_data.intervals():
        st.html(no_data_legend("empty: video, but no face"))
    charts.draw_chart(
        track_timeline(details.observations, time, details.no_data),
        key="observations",
        alt=f"Probabilities of the eight expressions of {title}, track {track.track}, the label "
        "before and after smoothing, confidence, uncertainty, blur, light, size and the way it was "
        "classified, over time",
    )
    st.caption(
        "From the top: probabilities of each observation; its own label (raw); the smoothed label; "
        "confidence, and uncertainty (dashed); blur, and light (dashed), from 0 to 1; size of the "
        "face; what classified it (by), see the table."
    )
    st.html(share_table(details.shares))
    st.html("<h3>Classified by</h3>")
    st.html(_ways_table(details.observations))
    _show_cards(details)


def _figures(totals: TrackSummary) -> Markup:
    rows = [
        ("Label", swatch(totals.label)),
        ("Confidence, mean", f"{totals.confidence:.0%}"),
        ("Uncertainty, mean", f"{totals.uncertainty:.2f}"),
        ("Blur, 0 sharp to 1", f"{totals.blur:.2f}"),
        ("Light, 0 black to 1", f"{totals.luma:.2f}"),
        ("Size of the face", f"{totals.size_px:.0f} px"),
        ("Observations", f"{totals.observations:,}"),
        ("Negative for about", format_duration(totals.negative_ms)),
    ]
    pairs = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)
    return Markup(f'<dl class="uc-figures">{pairs}</dl>')


def _ways_table(observations: Sequence[Observation]) -> Markup:
    counts = Counter(way_of(one) for one in observations)
    rows = [
        (mark, two_lines(way[0], way[1]), way[2] or "–", f"{counts[way] / len(observations):.0%}")
        for way, mark in name_ways(observations).items()
    ]
    columns = {"By": "", "Weights, mode": "uc-text", "Reason": "uc-text", "Share": NUMBER}
    return table(columns, rows)


def _show_cards(details: TrackDetails) -> None:
    """How often the labels of these weights are right, from the card of each."""
    label = details.totals.label if details.totals else details.track.label
    for model, _ in Counter(one.model for one in details.observations).most_common(2):
        st.html(f"<h3>How often {escape(model)} is right</h3>")
        card = _find_card(model)
        if card is None or not card.per_class:
            st.caption("This installation has no card with measurements of these weights.")
            continue
        st.html(_sentence(card, label))
        st.html(_card_table(card))
        st.caption(
            f"Measured on {_support(card):,} faces that were never trained on ({card.data}). Your "
            "cameras, light and people are different; expect lower figures."
        )


@cache
def _find_card(model: str) -> ModelCard | None:
    return find_card(model)


def _sentence(card: ModelCard, label: str) -> Markup:
    figures = card.per_class.get(label)
    if not figures:
        return Markup("<p><em>unknown</em> means that no label was certain enough.</p>")
    precision, recall = figures["precision"], figures["recall"]
    right = "–" if precision is None else f"{precision:.0%}"
    found = "–" if recall is None else f"{recall:.0%}"
    return Markup(
        f"<p>Where it says <strong>{label}</strong>, it is right in <strong>{right}</strong> of "
        f"the cases; of the faces that show {label} it finds {found}.</p>"
    )


def _card_table(card: ModelCard) -> Markup:
    degraded = _recall(card, DEGRADED)
    columns = {"Label": "", "Right when given": NUMBER, "Found": NUMBER}
    columns |= {"Found under displays": NUMBER} if degraded else {}
    rows = []
    for label in EMOTIONS:
        figures: dict[str, Any] = card.per_class.get(label, {})
        row: list[object] = [
            swatch(label),
            _format(figures.get("precision")),
            _format(figures.get("recall")),
        ]
        rows.append(row + ([_format(degraded.get(label))] if degraded else []))
    return table(columns, rows)


def _recall(card: ModelCard, name: str) -> dict[str, float]:
    """The recall per label of the measurement whose name begins so."""
    for key, value in card.metrics.items():
        if (
            key.startswith(name)
            and isinstance(value, dict)
            and isinstance(value.get("recall"), dict)
        ):
            recall: dict[str, float] = value["recall"]
            return recall
    return {}


def _support(card: ModelCard) -> int:
    return round(sum(figures.get("support") or 0 for figures in card.per_class.values()))


def _format(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
