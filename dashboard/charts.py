"""The charts, as ECharts options.

Streamlit keeps a keyed ECharts chart and hands it the new data. A Plotly chart it builds anew
whenever a value changes, and that flickers (both seen with Streamlit 1.67).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import streamlit as st

from dashboard.absence import Absence
from dashboard.bands import areas, full_bars, strip_axis, strip_bars
from dashboard.choices import Span
from dashboard.tables import LABELS
from dashboard.times import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from models.emotions import EMOTIONS
from pipeline.palette import EMOTION_COLOURS
from pipeline.store.queries import Look, MinuteRows, Shares, Timeline

Option = dict[str, Any]
NOTHING = Absence()
QUIET = "#7a8794"
"""Bars that stand for no expression; visible on white and on near-black."""
TICKS = 10
"""The most labels along an axis of time."""
STEPS_MS = (
    *(step * SECOND_MS for step in (10, 30)),
    *(step * MINUTE_MS for step in (1, 2, 5, 10, 15, 30)),
    *(step * HOUR_MS for step in (1, 2, 3, 6, 12)),
    DAY_MS,
)
"""Round distances between such labels."""


def expression_timeline(timeline: Timeline, span: Span, absence: Absence = NOTHING) -> Option:
    """Share of the looks that each label was shown in, per bucket, over the number of looks, over a
    strip of the times without video and of losses.

    A bucket without looks stays empty where the camera saw nobody, and is marked where it gave no
    video or its rows are lost.
    """
    found = {point.start_ms: point.shares for point in timeline.points}
    buckets = _buckets(span, timeline.bucket_ms)
    seen = [found.get(start) for start in buckets]
    series = [
        _bars(label, EMOTION_COLOURS[label], [_share(label, shares) for shares in seen]) | _PERCENT
        for label in LABELS
    ]
    looks = _bars(
        "looks", QUIET, [shares.observations if shares else None for shares in seen], grid=1
    )
    bare = [shares is None for shares in seen]
    marks = [
        *full_bars([absence], buckets, timeline.bucket_ms, bare),
        *strip_bars([absence], buckets, timeline.bucket_ms, grid=2),
    ]
    time = _categories(span, buckets)
    return _option(
        [_grid(10, 230), _grid(255, 60), _grid(325, 16)],
        [time | _HIDDEN, time | _HIDDEN | {"gridIndex": 1}, time | {"gridIndex": 2}],
        [_SHARES, {"gridIndex": 1, "splitNumber": 2}, strip_axis(2)],
        [*series, looks, *marks],
    )


def track_timeline(looks: Sequence[Look], span: Span, absence: Absence = NOTHING) -> Option:
    """The eight probabilities of each look of a track, stacked, over the label then shown.

    Both break off where rows are lost or the camera gave no video.
    """
    breaks = [start for _, start, _ in absence.bands() if span.since_ms < start < span.until_ms]
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
                [(look.captured_ms, _percent(look.probabilities[number])) for look in looks], breaks
            ),
        }
        | _PERCENT
        for number, emotion in enumerate(EMOTIONS)
    ]
    time = {"type": "time", "min": span.since_ms, "max": span.until_ms, "splitNumber": 5}
    strip = {"min": 0, "max": 1, "interval": 1, "axisLabel": {"show": False}}
    return _option(
        [_grid(10, 210), _grid(232, 28)],
        [time | _HIDDEN, time | {"gridIndex": 1}],
        [_SHARES, strip | {"gridIndex": 1, "name": "shown", "nameLocation": "middle"}],
        [
            *series,
            _strip(looks, span, breaks),
            *(areas(absence, span, grid, is_named=not grid) for grid in (0, 1)),
        ],
    ) | {"useUTC": span.recorded}


def minute_bars(
    minutes: Sequence[MinuteRows], span: Span, cameras: Sequence[Absence] = ()
) -> Option:
    """Rows per minute of capture, over a strip: how much of the time of these cameras was without
    video or is lost."""
    found = {minute.minute_ms: minute.rows for minute in minutes}
    buckets = _buckets(span, MINUTE_MS)
    rows = _bars("rows", QUIET, [found.get(start, 0) for start in buckets])
    time = _categories(span, buckets)
    return _option(
        [_grid(10, 160), _grid(180, 16)],
        [time | _HIDDEN, time | {"gridIndex": 1}],
        [{"splitNumber": 3}, strip_axis(1)],
        [rows, *strip_bars(cameras, buckets, MINUTE_MS, grid=1)],
    )


def draw(option: Option, key: str, alt: str) -> None:
    """Puts a chart on the page; with the same key, it is renewed in place."""
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
    """Points of a line, with a hole at each break."""
    holes: list[tuple[int, float | None]] = [(start, None) for start in breaks]
    return [[ms, value] for ms, value in sorted([*points, *holes], key=lambda point: point[0])]


def _grid(top: int, height: int) -> Option:
    return {"top": top, "height": height, "left": 55, "right": 30, "outerBoundsMode": "none"}


def _buckets(span: Span, bucket_ms: int) -> list[int]:
    return list(range(span.since_ms - span.since_ms % bucket_ms, span.until_ms, bucket_ms))


def _categories(span: Span, buckets: Sequence[int]) -> Option:
    """One category a bucket, named by its start; the axis tells those where a round time begins."""
    step_ms = next((s for s in STEPS_MS if (span.until_ms - span.since_ms) / s < TICKS), DAY_MS)
    steps = [span.step_of(start, step_ms) for start in buckets]
    told = [n for n in range(1, len(steps)) if steps[n] != steps[n - 1]]
    return {
        "type": "category",
        "data": [span.time(start) for start in buckets],
        "axisLabel": {"customValues": told},
        "axisTick": {"customValues": told},
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


def _strip(looks: Sequence[Look], span: Span, breaks: Sequence[int]) -> Option:
    """Coloured stretches of the labels shown, each until the next one begins or one breaks off."""
    runs = [list(run) for _, run in groupby(looks, key=lambda look: look.smoothed_label)]
    starts = [run[0].captured_ms for run in runs]
    ends = [
        min((at for at in breaks if start <= at < end), default=end)
        for start, end in zip(starts, [*starts[1:], span.until_ms], strict=True)
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
