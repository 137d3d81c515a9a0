"""The charts: transparent, so that the theme shows through, and calm when they are renewed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from dashboard.choices import Span
from dashboard.tables import LABELS
from dashboard.times import DAY_MS, MINUTE_MS, local
from models.emotions import EMOTIONS
from pipeline.palette import EMOTION_COLOURS
from pipeline.store.queries import Look, MinuteRows, Timeline

QUIET = "#7a8794"
"""Bars that stand for no expression; legible on white and on near-black."""
_TICKS = [
    {"dtickrange": [None, MINUTE_MS - 1], "value": "%H:%M:%S"},
    {"dtickrange": [MINUTE_MS, DAY_MS - 1], "value": "%H:%M"},
    {"dtickrange": [DAY_MS, None], "value": "%-d %b"},
]
"""Labels of the time axis by the distance of its ticks."""
_CONFIG = {"displayModeBar": False, "scrollZoom": False}


def expression_timeline(timeline: Timeline, span: Span, zone: tzinfo) -> go.Figure:
    """Share of the looks that each label was shown in, per bucket, and how many looks there were.

    A bucket without looks stays empty.
    """
    zone = UTC if span.recorded else zone
    figure = _two_rows((0.78, 0.22))
    starts = [local(point.start_ms, zone) for point in timeline.points]
    shares = [point.shares for point in timeline.points]
    place = {"x": starts, "width": timeline.bucket_ms, "col": 1}
    for label in LABELS:
        parts = [s.counts[label] / s.observations if label in s.counts else None for s in shares]
        style = _bars(label, EMOTION_COLOURS[label], "%{y:.0%}")
        figure.add_bar(y=parts, row=1, **place, **style)
    looks = [s.observations for s in shares]
    figure.add_bar(y=looks, row=2, **place, **_bars("looks", QUIET, "%{y:,}"))
    figure.update_yaxes(range=[0, 1], tickformat=".0%", title="share of looks", row=1)
    figure.update_yaxes(rangemode="tozero", nticks=3, title="looks", row=2)
    return _in_time(figure, span, zone, height=360)


def track_timeline(looks: Sequence[Look], span: Span, zone: tzinfo) -> go.Figure:
    """The eight probabilities of each look of a track, stacked, over the label then shown."""
    zone = UTC if span.recorded else zone
    figure = _two_rows((0.88, 0.12))
    times = [local(look.captured_ms, zone) for look in looks]
    for number, emotion in enumerate(EMOTIONS):
        figure.add_scatter(
            x=times,
            y=[look.probabilities[number] for look in looks],
            name=emotion,
            mode="lines",
            line={"width": 0},
            fillcolor=EMOTION_COLOURS[emotion],
            stackgroup="probabilities",
            hovertemplate="%{y:.0%}",
            row=1,
            col=1,
        )
    ends = [*(look.captured_ms for look in looks[1:]), span.until_ms]
    figure.add_bar(
        x=times,
        y=[1] * len(looks),
        width=[end - look.captured_ms for look, end in zip(looks, ends, strict=True)],
        offset=0,
        name="shown",
        marker={
            "color": [EMOTION_COLOURS[look.smoothed_label] for look in looks],
            "line": {"width": 0},
        },
        customdata=[look.smoothed_label for look in looks],
        hovertemplate="%{customdata}",
        row=2,
        col=1,
    )
    figure.update_yaxes(range=[0, 1], tickformat=".0%", title="probability", row=1)
    figure.update_yaxes(range=[0, 1], tickvals=[0.5], ticktext=["shown"], row=2)
    return _in_time(figure, span, zone, height=340)


def minute_bars(minutes: Sequence[MinuteRows], span: Span, zone: tzinfo) -> go.Figure:
    """Rows per minute of capture."""
    figure = go.Figure()
    figure.add_bar(
        x=[local(minute.minute_ms, zone) for minute in minutes],
        y=[minute.rows for minute in minutes],
        width=MINUTE_MS,
        **_bars("rows", QUIET, "%{y:,}"),
    )
    figure.update_yaxes(rangemode="tozero", title="rows a minute")
    return _in_time(figure, span, zone, height=220)


def draw(figure: go.Figure, key: str, alt: str, subject: str = "") -> None:
    """Puts a figure on the page. With the same key it is renewed in place, and with the same
    subject the viewer's zoom is kept."""
    figure.update_layout(uirevision=subject)
    st.plotly_chart(figure, key=key, config=_CONFIG, alt=alt, height=figure.layout.height)


def _two_rows(heights: tuple[float, float]) -> go.Figure:
    return make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=heights, vertical_spacing=0.06
    )


def _bars(name: str, colour: str, hover: str) -> dict[str, Any]:
    marker = {"color": colour, "line": {"width": 0}}
    return {"name": name, "marker": marker, "hovertemplate": hover, "offset": 0}


def _in_time(figure: go.Figure, span: Span, zone: tzinfo, height: int) -> go.Figure:
    figure.update_xaxes(
        range=[local(span.since_ms, zone), local(span.until_ms, zone)],
        tickformatstops=[] if span.recorded else _TICKS,
        tickformat="%M:%S",
        hoverformat="%M:%S" if span.recorded else "%-d %b %H:%M:%S",
    )
    figure.update_layout(
        height=height,
        barmode="stack",
        bargap=0,
        hovermode="x unified",
        dragmode="zoom",
        margin={"l": 60, "r": 10, "t": 10, "b": 30},
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return figure
