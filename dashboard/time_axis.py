"""Time axes of the bar charts: one category per bucket, round labels, and the day always said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboard.page import viewer_zone
from dashboard.selection import TimeRange
from dashboard.time_format import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    format_clock,
    format_day,
    format_media_time,
)

Option = dict[str, Any]
TICKS = 10
"""At most this many labels on a time axis."""
STEPS_MS = (
    *(step * SECOND_MS for step in (10, 30)),
    *(step * MINUTE_MS for step in (1, 2, 5, 10, 15, 30)),
    *(step * HOUR_MS for step in (1, 2, 3, 6, 12)),
    *(step * DAY_MS for step in (1, 2, 7, 14)),
)
"""Round distances between the labels."""
LEFT_PX, RIGHT_PX = 55, 30
"""From the edges of a chart to its time axis."""
HIDDEN: Option = {"axisLabel": {"show": False}, "axisTick": {"show": False}}


def list_buckets(time_range: TimeRange, bucket_ms: int) -> list[int]:
    """The starts of the buckets that a range touches."""
    late = (time_range.since_ms + time_range.offset_ms) % bucket_ms
    return list(range(time_range.since_ms - late, time_range.until_ms, bucket_ms))


def time_axes(time_range: TimeRange, buckets: Sequence[int], grids: int) -> list[Option]:
    """An axis for each grid, whose names the tooltips show, and a last one with the labels."""
    names: Option = {
        "type": "category",
        "data": [time_range.format(start) for start in buckets],
    }
    labelled = _find_ticks(time_range, buckets)
    ticks = {"customValues": labelled}
    labels: Option = {
        "type": "category",
        "gridIndex": grids - 1,
        "position": "bottom",
        "data": _short_names(time_range, buckets, labelled),
        "axisLabel": ticks | {"hideOverlap": True, "lineHeight": 15},
        "axisTick": ticks,
        "axisPointer": {"show": False},
        "tooltip": {"show": False},
    }
    return [*(names | HIDDEN | {"gridIndex": grid} for grid in range(grids)), labels]


def _find_ticks(time_range: TimeRange, buckets: Sequence[int]) -> list[int]:
    """The numbers of the buckets in which a new round step begins."""
    length = time_range.until_ms - time_range.since_ms
    step_ms = next((s for s in STEPS_MS if length / s < TICKS), -(-length // TICKS))
    steps = [time_range.step_of(start, step_ms) for start in buckets]
    found = [n for n in range(1, len(steps)) if steps[n] != steps[n - 1]]
    is_first = buckets and time_range.step_of(buckets[0] - 1, step_ms) != steps[0]
    return [0, *found] if is_first else found


def _short_names(
    time_range: TimeRange, buckets: Sequence[int], labelled: Sequence[int]
) -> list[str]:
    """The time of each bucket; the first label, and the first of each day, say the day too."""
    if time_range.is_recording:
        return [format_media_time(start) for start in buckets]
    zone, names = viewer_zone(), [""] * len(buckets)
    day = ""
    for number in labelled:
        today = format_day(buckets[number], zone)
        clock = format_clock(buckets[number], zone)
        names[number] = clock if today == day else f"{clock}\n{today}"
        day = today
    return names
