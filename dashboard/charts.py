"""The charts, as ECharts options.

Why ECharts: Streamlit updates a keyed ECharts chart in place. A Plotly chart is rebuilt whenever
a value changes, which flickers at every refresh (both observed with Streamlit 1.67).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.no_data import NoData
from dashboard.no_data_marks import full_height_bars, strip_axis, strip_bars
from dashboard.selection import TimeRange
from dashboard.tables import LABELS
from dashboard.time_axis import LEFT_PX, RIGHT_PX, list_buckets, time_axes
from dashboard.time_format import MINUTE_MS
from pipeline.palette import EMOTION_COLOURS
from pipeline.store.queries import MinuteRows, Shares, Timeline

Option = dict[str, Any]
NOTHING = NoData()
QUIET = "#7a8794"
"""Colour of bars that are no expression; has contrast to white and to near-black."""


def expression_timeline(
    timeline: Timeline, time_range: TimeRange, no_data: NoData = NOTHING
) -> Option:
    """Share of each label per bucket, above the number of observations, above a strip of the times
    without data.

    A bucket without observations stays empty where nobody was in view, and is marked where there
    was no video or events were lost.
    """
    found = {point.start_ms: point.shares for point in timeline.points}
    buckets = list_buckets(time_range, timeline.bucket_ms)
    per_bucket = [found.get(start) for start in buckets]
    series = [
        _bars(label, EMOTION_COLOURS[label], [_share(label, shares) for shares in per_bucket])
        | PERCENT
        for label in LABELS
    ]
    observations = _bars(
        "observations",
        QUIET,
        [shares.observations if shares else None for shares in per_bucket],
        grid=1,
    )
    bare = [shares is None for shares in per_bucket]
    marks = [
        *full_height_bars([no_data], buckets, timeline.bucket_ms, bare),
        *strip_bars([no_data], buckets, timeline.bucket_ms, grid=2),
    ]
    return make_option(
        [place_grid(10, 230), place_grid(255, 60), place_grid(325, 16)],
        time_axes(time_range, buckets, 3),
        [SHARES_AXIS, {"gridIndex": 1, "splitNumber": 2}, strip_axis(2)],
        [*series, observations, *marks],
    )


def minute_bars(
    minutes: Sequence[MinuteRows], time_range: TimeRange, cameras: Sequence[NoData] = ()
) -> Option:
    """Observations per minute of capture, above a strip of the share of the cameras' time that was
    without data."""
    found = {minute.minute_ms: minute.rows for minute in minutes}
    buckets = list_buckets(time_range, MINUTE_MS)
    rows = _bars("observations", QUIET, [found.get(start, 0) for start in buckets])
    return make_option(
        [place_grid(10, 160), place_grid(180, 16)],
        time_axes(time_range, buckets, 2),
        [{"splitNumber": 3}, strip_axis(1)],
        [rows, *strip_bars(cameras, buckets, MINUTE_MS, grid=1)],
    )


def draw_chart(option: Option, key: str, alt: str, extra_px: int = 0) -> None:
    """Shows a chart; one with the same key is updated in place. `alt` describes it in text;
    `extra_px` is room for a scale below it."""
    last = option["grid"][-1]
    height = last["top"] + last["height"] + 42 + extra_px
    st.echarts_chart(option, key=key, alt=alt, height=height, renderer="svg")


PERCENT: Option = {"tooltip": {"valueFormatter": "%.0f%%"}}
SHARES_AXIS: Option = {"max": 100, "interval": 25, "axisLabel": {"formatter": "{value}%"}}


def _percent(share: float) -> float:
    return round(100 * share, 1)


def _share(label: str, shares: Shares | None) -> float | None:
    return _percent(shares.counts.get(label, 0) / shares.observations) if shares else None


def place_grid(top: int, height: int) -> Option:
    """A chart's part, at this distance from its top and of this height, in pixels."""
    return {
        "top": top,
        "height": height,
        "left": LEFT_PX,
        "right": RIGHT_PX,
        "outerBoundsMode": "none",
    }


def _bars(name: str, colour: str, data: list[Any], grid: int = 0) -> Option:
    return {
        "type": "bar",
        "name": name,
        "stack": f"stack {grid}",
        "xAxisIndex": grid,
        "yAxisIndex": grid,
        "barCategoryGap": "0%",
        "itemStyle": {"color": colour},
        "emphasis": {"disabled": True},
        "data": data,
    }


def make_option(
    grids: list[Option], x: list[Option], y: list[Option], series: list[Option]
) -> Option:
    """A chart of several parts with linked time axes, which moves only where values change."""
    return {
        "animation": False,
        "grid": grids,
        "xAxis": x,
        "yAxis": y,
        "series": series,
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "line"}, "confine": True},
        "axisPointer": {"link": [{"xAxisIndex": "all"}]},
    }
