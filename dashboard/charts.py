"""The charts, as ECharts options.

Why ECharts: Streamlit updates a keyed ECharts chart in place. A Plotly chart is rebuilt whenever
a value changes, which flickers at every refresh (both observed with Streamlit 1.67).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import streamlit as st

from dashboard.no_data import NoData
from dashboard.no_data_marks import full_height_bars, marked_areas, strip_axis, strip_bars
from dashboard.selection import TimeRange
from dashboard.tables import LABELS
from dashboard.time_format import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from models.emotions import EMOTIONS
from pipeline.palette import EMOTION_COLOURS
from pipeline.store.queries import MinuteRows, Observation, Shares, Timeline

Option = dict[str, Any]
NOTHING = NoData()
QUIET = "#7a8794"
"""Colour of bars that are no expression; has contrast to white and to near-black."""
TICKS = 10
"""At most this many labels on a time axis."""
STEPS_MS = (
    *(step * SECOND_MS for step in (10, 30)),
    *(step * MINUTE_MS for step in (1, 2, 5, 10, 15, 30)),
    *(step * HOUR_MS for step in (1, 2, 3, 6, 12)),
    DAY_MS,
)
"""Round distances between the labels of a time axis."""


def expression_timeline(
    timeline: Timeline, time_range: TimeRange, no_data: NoData = NOTHING
) -> Option:
    """Share of each label per bucket, above the number of observations, above a strip of the times
    without data.

    A bucket without observations stays empty where nobody was in view, and is marked where there
    was no video or events were lost.
    """
    found = {point.start_ms: point.shares for point in timeline.points}
    buckets = _buckets(time_range, timeline.bucket_ms)
    per_bucket = [found.get(start) for start in buckets]
    series = [
        _bars(label, EMOTION_COLOURS[label], [_share(label, shares) for shares in per_bucket])
        | _PERCENT
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
    time = _categories(time_range, buckets)
    return _option(
        [_grid(10, 230), _grid(255, 60), _grid(325, 16)],
        [time | _HIDDEN, time | _HIDDEN | {"gridIndex": 1}, time | {"gridIndex": 2}],
        [_SHARES, {"gridIndex": 1, "splitNumber": 2}, strip_axis(2)],
        [*series, observations, *marks],
    )


def track_timeline(
    observations: Sequence[Observation], time_range: TimeRange, no_data: NoData = NOTHING
) -> Option:
    """The eight probabilities of each observation of a track, stacked, above a strip of its
    smoothed label.

    Both are interrupted where there was no video or events were lost.
    """
    breaks = [
        start
        for _, start, _ in no_data.intervals()
        if time_range.since_ms < start < time_range.until_ms
    ]
    series = [
        {
            "type": "line",
            "name": emotion,
            "stack": "probabilities",
            "symbol": "none",
            "lineStyle": {"width": 0},
            "itemStyle": {"color": EMOTION_COLOURS[emotion]},
            "areaStyle": {"color": EMOTION_COLOURS[emotion], "opacity": 1},
            "data": _broken(
                [(one.captured_ms, _percent(one.probabilities[number])) for one in observations],
                breaks,
            ),
        }
        | _PERCENT
        for number, emotion in enumerate(EMOTIONS)
    ]
    time = {
        "type": "time",
        "min": time_range.since_ms,
        "max": time_range.until_ms,
        "splitNumber": 5,
    }
    strip = {"min": 0, "max": 1, "interval": 1, "axisLabel": {"show": False}}
    return _option(
        [_grid(10, 210), _grid(232, 28)],
        [time | _HIDDEN, time | {"gridIndex": 1}],
        [_SHARES, strip | {"gridIndex": 1, "name": "label", "nameLocation": "middle"}],
        [
            *series,
            _strip(observations, time_range, breaks),
            *(marked_areas(no_data, time_range, grid, is_named=not grid) for grid in (0, 1)),
        ],
    ) | {"useUTC": time_range.is_recording}


def minute_bars(
    minutes: Sequence[MinuteRows], time_range: TimeRange, cameras: Sequence[NoData] = ()
) -> Option:
    """Observations per minute of capture, above a strip of the share of the cameras' time that was
    without data."""
    found = {minute.minute_ms: minute.rows for minute in minutes}
    buckets = _buckets(time_range, MINUTE_MS)
    rows = _bars("observations", QUIET, [found.get(start, 0) for start in buckets])
    time = _categories(time_range, buckets)
    return _option(
        [_grid(10, 160), _grid(180, 16)],
        [time | _HIDDEN, time | {"gridIndex": 1}],
        [{"splitNumber": 3}, strip_axis(1)],
        [rows, *strip_bars(cameras, buckets, MINUTE_MS, grid=1)],
    )


def draw_chart(option: Option, key: str, alt: str) -> None:
    """Shows a chart; one with the same key is updated in place. `alt` describes it in text."""
    last = option["grid"][-1]
    height = last["top"] + last["height"] + 30
    st.echarts_chart(option, key=key, alt=alt, height=height, renderer="svg")


_PERCENT: Option = {"tooltip": {"valueFormatter": "%.0f%%"}}
_SHARES: Option = {"max": 100, "interval": 25, "axisLabel": {"formatter": "{value}%"}}
_HIDDEN: Option = {"axisLabel": {"show": False}, "axisTick": {"show": False}}


def _percent(share: float) -> float:
    return round(100 * share, 1)


def _share(label: str, shares: Shares | None) -> float | None:
    return _percent(shares.counts.get(label, 0) / shares.observations) if shares else None


def _broken(points: Sequence[tuple[int, float]], breaks: Sequence[int]) -> list[list[float | None]]:
    """Points of a line, interrupted by a null at each break."""
    holes: list[tuple[int, float | None]] = [(start, None) for start in breaks]
    return [[ms, value] for ms, value in sorted([*points, *holes], key=lambda point: point[0])]


def _grid(top: int, height: int) -> Option:
    return {"top": top, "height": height, "left": 55, "right": 30, "outerBoundsMode": "none"}


def _buckets(time_range: TimeRange, bucket_ms: int) -> list[int]:
    return list(
        range(time_range.since_ms - time_range.since_ms % bucket_ms, time_range.until_ms, bucket_ms)
    )


def _categories(time_range: TimeRange, buckets: Sequence[int]) -> Option:
    """One category per bucket, named by its start; labelled where a new round step begins."""
    step_ms = next(
        (s for s in STEPS_MS if (time_range.until_ms - time_range.since_ms) / s < TICKS), DAY_MS
    )
    steps = [time_range.step_of(start, step_ms) for start in buckets]
    labelled = [n for n in range(1, len(steps)) if steps[n] != steps[n - 1]]
    return {
        "type": "category",
        "data": [time_range.format(start) for start in buckets],
        "axisLabel": {"customValues": labelled},
        "axisTick": {"customValues": labelled},
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


def _strip(
    observations: Sequence[Observation], time_range: TimeRange, breaks: Sequence[int]
) -> Option:
    """Coloured areas of the smoothed labels, each until the next label or the next break."""
    runs = [list(run) for _, run in groupby(observations, key=lambda one: one.smoothed_label)]
    starts = [run[0].captured_ms for run in runs]
    ends = [
        min((at for at in breaks if start <= at < end), default=end)
        for start, end in zip(starts, [*starts[1:], time_range.until_ms], strict=True)
    ]
    areas = [
        [
            {"xAxis": start, "itemStyle": {"color": EMOTION_COLOURS[run[0].smoothed_label]}},
            {"xAxis": end},
        ]
        for run, start, end in zip(runs, starts, ends, strict=True)
    ]
    return {
        "type": "line",
        "xAxisIndex": 1,
        "yAxisIndex": 1,
        "data": [],
        "markArea": {"silent": True, "data": areas},
    }


def _option(grids: list[Option], x: list[Option], y: list[Option], series: list[Option]) -> Option:
    return {
        "animation": False,
        "grid": grids,
        "xAxis": x,
        "yAxis": y,
        "series": series,
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "line"}, "confine": True},
        "axisPointer": {"link": [{"xAxisIndex": "all"}]},
    }
