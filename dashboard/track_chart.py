"""The chart of one track: what was seen, how sure, how good the image was, what classified it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from string import ascii_uppercase
from typing import Any

from dashboard.charts import NOTHING, PERCENT, SHARES_AXIS, make_option, place_grid
from dashboard.no_data import NoData
from dashboard.no_data_marks import marked_areas
from dashboard.selection import TimeRange
from dashboard.time_axis import HIDDEN
from models.emotions import EMOTIONS
from pipeline.palette import EMOTION_COLOURS
from pipeline.store.queries import Observation

Option = dict[str, Any]
Ways = dict[tuple[str, str, str], str]
"""Weights, mode and reason, and the mark that stands for them in the chart."""
SURE, UNSURE, BLUR, LIGHT = "#2f7fb8", "#c8641e", "#8a63c9", "#9a8300"
"""Colours of the lines; each has contrast 3:1 to white and to near-black."""
GRIDS = ((10, 170), (186, 16), (206, 16), (236, 70), (320, 70), (404, 50), (468, 18))
"""Distance from the top and height of each part, in pixels."""
_SHADES = ("rgba(122,135,148,0.45)", "rgba(122,135,148,0.18)")
_NUMBER = re.compile(r"\d+(\.\d+)?")


def track_timeline(
    observations: Sequence[Observation], time_range: TimeRange, no_data: NoData = NOTHING
) -> Option:
    """From the top: the eight probabilities of each observation, stacked; strips of its own and of
    the smoothed label; confidence and uncertainty; blur and light; size; and the way it was
    classified. All are interrupted where there was no video or events were lost."""
    breaks = [
        start
        for _, start, _ in no_data.intervals()
        if time_range.since_ms < start < time_range.until_ms
    ]
    time = {
        "type": "time",
        "min": time_range.since_ms,
        "max": time_range.until_ms,
        "splitNumber": 5,
    }
    last = len(GRIDS) - 1
    x = [time | HIDDEN | {"gridIndex": number} for number in range(last)]
    ways = name_ways(observations)
    return make_option(
        [place_grid(top, height) for top, height in GRIDS],
        [*x, time | {"gridIndex": last, "axisLabel": {"hideOverlap": True}}],
        [
            SHARES_AXIS,
            *(_strip_axis(1, "raw"), _strip_axis(2, "label")),
            *(_unit_axis(3), _unit_axis(4)),
            {"gridIndex": 5, "min": 0, "splitNumber": 2, "axisLabel": {"formatter": "{value} px"}},
            _strip_axis(6, "by"),
        ],
        [
            *_probabilities(observations, breaks),
            _label_strip(observations, time_range, breaks, 1, lambda one: one.label),
            _label_strip(observations, time_range, breaks, 2, lambda one: one.smoothed_label),
            *_measured_lines(observations, breaks),
            _way_strip(observations, time_range, ways, 6),
            *(marked_areas(no_data, time_range, n, is_named=not n) for n in range(len(GRIDS))),
        ],
    ) | {"useUTC": time_range.is_recording}


def _measured_lines(observations: Sequence[Observation], breaks: Sequence[int]) -> list[Option]:
    """How sure it was, and how good the image."""
    values: list[tuple[str, str, int, str, list[float]]] = [
        ("confidence", SURE, 3, "solid", [one.smoothed_confidence for one in observations]),
        ("uncertainty", UNSURE, 3, "dashed", [one.uncertainty for one in observations]),
        ("blur", BLUR, 4, "solid", [one.blur for one in observations]),
        ("light", LIGHT, 4, "dashed", [one.luma for one in observations]),
        ("size", SURE, 5, "solid", [one.size_px for one in observations]),
    ]
    times = [one.captured_ms for one in observations]
    return [
        _line(name, colour, number, list(zip(times, found, strict=True)), breaks, style)
        for name, colour, number, style, found in values
    ]


def way_of(one: Observation) -> tuple[str, str, str]:
    """Weights, mode and reason; the numbers in a reason, which differ each time, left out.

    >>> _NUMBER.sub("…", "noise 0.031; confidence below 0.4")
    'noise …; confidence below …'
    """
    return one.model, one.mode, _NUMBER.sub("…", one.reason)


def name_ways(observations: Sequence[Observation]) -> Ways:
    """The ways in which a track was classified, the most frequent first, each with its mark."""
    counts = Counter(way_of(one) for one in observations)
    marks = [*ascii_uppercase[:25], *["Z"] * max(0, len(counts) - 25)]
    return dict(zip((way for way, _ in counts.most_common()), marks, strict=False))


def _probabilities(observations: Sequence[Observation], breaks: Sequence[int]) -> list[Option]:
    return [
        {
            "type": "line",
            "name": emotion,
            "stack": "probabilities",
            "symbol": "none",
            "lineStyle": {"width": 0},
            "itemStyle": {"color": EMOTION_COLOURS[emotion]},
            "areaStyle": {"color": EMOTION_COLOURS[emotion], "opacity": 1},
            "data": _broken(
                [(o.captured_ms, round(100 * o.probabilities[n], 1)) for o in observations], breaks
            ),
        }
        | PERCENT
        for n, emotion in enumerate(EMOTIONS)
    ]


def _line(
    name: str,
    colour: str,
    number: int,
    points: Sequence[tuple[int, float]],
    breaks: Sequence[int],
    style: str,
) -> Option:
    return {
        "type": "line",
        "name": name,
        "xAxisIndex": number,
        "yAxisIndex": number,
        "symbol": "none",
        "lineStyle": {"width": 1.8, "type": style},
        "itemStyle": {"color": colour},
        "endLabel": {"show": False},
        "data": _broken([(ms, round(value, 3)) for ms, value in points], breaks),
    }


def _broken(points: Sequence[tuple[int, float]], breaks: Sequence[int]) -> list[list[float | None]]:
    """Points of a line, interrupted by a null at each break."""
    holes: list[tuple[int, float | None]] = [(start, None) for start in breaks]
    return [[ms, value] for ms, value in sorted([*points, *holes], key=lambda point: point[0])]


def _unit_axis(number: int) -> Option:
    return {"gridIndex": number, "min": 0, "max": 1, "interval": 0.5}


def _strip_axis(number: int, name: str) -> Option:
    return {
        **{"gridIndex": number, "min": 0, "max": 1, "interval": 1, "name": name},
        **{"nameLocation": "middle", "nameRotate": 0, "nameGap": 8},
        **{"axisLabel": {"show": False}, "splitLine": {"show": False}},
        "nameTextStyle": {"align": "right"},
    }


def _label_strip(
    observations: Sequence[Observation],
    time_range: TimeRange,
    breaks: Sequence[int],
    number: int,
    label_of: Callable[[Observation], str],
) -> Option:
    """Coloured areas of the labels, each until the next label or the next break."""
    areas: list[list[Option]] = [
        [{"xAxis": start, "itemStyle": {"color": EMOTION_COLOURS[label]}}, {"xAxis": end}]
        for label, start, end in _runs(observations, time_range, breaks, label_of)
    ]
    return _areas(number, areas)


def _way_strip(
    observations: Sequence[Observation], time_range: TimeRange, ways: Ways, number: int
) -> Option:
    """Shaded areas, each with the mark of the way."""
    found = _runs(observations, time_range, (), lambda one: ways[way_of(one)])
    areas: list[list[Option]] = [
        [
            {
                "xAxis": start,
                "name": mark,
                "itemStyle": {"color": _SHADES[ascii_uppercase.index(mark) % 2]},
            },
            {"xAxis": end},
        ]
        for mark, start, end in found
    ]
    wide = (time_range.until_ms - time_range.since_ms) / 40
    for (first, _), (_, start, end) in zip(areas, found, strict=True):
        first["label"] = {"show": end - start >= wide, "position": "inside"}
    return _areas(number, areas)


def _areas(number: int, areas: list[list[Option]]) -> Option:
    return {
        "type": "line",
        "xAxisIndex": number,
        "yAxisIndex": number,
        "data": [],
        "markArea": {"silent": True, "data": areas},
    }


def _runs(
    observations: Sequence[Observation],
    time_range: TimeRange,
    breaks: Sequence[int],
    value_of: Callable[[Observation], str],
) -> list[tuple[str, int, int]]:
    """(value, start_ms, end_ms) of consecutive observations with the same value."""
    runs = [(value, next(run).captured_ms) for value, run in groupby(observations, key=value_of)]
    ends = [*(start for _, start in runs[1:]), time_range.until_ms]
    return [
        (value, start, min((at for at in breaks if start <= at < end), default=end))
        for (value, start), end in zip(runs, ends, strict=True)
    ]
