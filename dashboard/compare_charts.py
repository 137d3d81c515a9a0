"""The charts of the Compare page: heat maps, and one day's hours against another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.charts import make_option, place_grid
from dashboard.measures import Measure
from dashboard.selection import TimeRange
from dashboard.time_axis import list_buckets, time_axes
from pipeline.store.queries import Timeline

Option = dict[str, Any]
Cells = Mapping[tuple[int, int], float | None]
"""Values by column and row."""
SCALE = ("#d3dfec", "#9bb9d8", "#6593c4", "#3d70a8", "#275587")
TWO_WAY = ("#a04a26", "#d9a58c", "#d8d8d8", "#8fb3d6", "#2f628f")
"""Light to dark in one hue, which is legible without colours; two hues about 0. Cells have a
border, since neither end can have contrast to both white and near-black."""
ROW_PX, LEFT_PX = 22, 130
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LINES = (("#2f7fb8", "solid"), ("#c8641e", "dashed"))


def cameras_heat_map(
    timelines: Mapping[str, Timeline], measure: Measure, time_range: TimeRange, bucket_ms: int
) -> Option:
    """One row per camera, one column per bucket of time; `timelines` by the camera's title."""
    buckets = list_buckets(time_range, bucket_ms)
    columns = {start: number for number, start in enumerate(buckets)}
    cells = {
        (columns[point.start_ms], row): measure.of(point.shares)
        for row, timeline in enumerate(timelines.values())
        for point in timeline.points
        if point.start_ms in columns
    }
    axes = time_axes(time_range, buckets, 1)
    return _heat_map(cells, measure, axes, list(timelines))


def week_heat_map(cells: Cells, measure: Measure) -> Option:
    """Hours of the day across, weekdays down; cells by (hour, weekday), Monday 0."""
    hours: Option = {
        "type": "category",
        "data": [f"{hour:02}:00" for hour in range(24)],
        "axisLabel": {"interval": 2, "hideOverlap": True},
    }
    return _heat_map(cells, measure, [hours], WEEKDAYS)


def day_lines(days: Mapping[str, Sequence[float | None]], measure: Measure) -> Option:
    """One line per day over its 24 hours, told apart by dashes as well."""
    hours: Option = {
        "type": "category",
        "boundaryGap": False,
        "data": [f"{hour:02}:00" for hour in range(24)],
        "axisLabel": {"interval": 2, "hideOverlap": True},
    }
    series = [
        {
            "type": "line",
            "name": day,
            "data": list(values),
            "symbolSize": 5,
            "lineStyle": {"width": 2, "type": style},
            "itemStyle": {"color": colour},
            "tooltip": {"valueFormatter": _format(measure)},
        }
        for (day, values), (colour, style) in zip(days.items(), LINES, strict=False)
    ]
    option = make_option([place_grid(34, 200)], [hours], [_value_axis(measure)], series)
    return option | {"legend": {"top": 0, "left": 55, "itemGap": 30, "data": list(days)}}


def _heat_map(cells: Cells, measure: Measure, x: Sequence[Option], rows: Sequence[str]) -> Option:
    values = [value for value in cells.values() if value is not None]
    least, most = measure.limits or (0.0, max(values, default=1.0))
    if measure.limits == (0.0, 100.0):
        most = max(10.0, max(values, default=10.0))
    series = {
        "type": "heatmap",
        "name": measure.name,
        "data": [[x, y, value] for (x, y), value in cells.items() if value is not None],
        "itemStyle": {"borderColor": "#7a8794", "borderWidth": 0.5},
        "emphasis": {"disabled": True},
        "tooltip": {"valueFormatter": _format(measure)},
        "progressive": 0,
    }
    down: Option = {
        "type": "category",
        "data": list(rows),
        "inverse": True,
        "axisLabel": {"width": LEFT_PX - 15, "overflow": "truncate", "interval": 0},
    }
    height = max(ROW_PX * len(rows), 44)
    frame = place_grid(10, height) | {"left": LEFT_PX}
    option = make_option([frame], list(x), [down], [series])
    option["tooltip"] = {"trigger": "item", "confine": True}
    option["visualMap"] = {
        "min": least,
        "max": most,
        "calculable": False,
        "orient": "horizontal",
        "left": LEFT_PX,
        "top": height + 52,
        "itemHeight": 120,
        "itemWidth": 12,
        "text": [f"{most:g}{measure.unit}", f"{least:g}{measure.unit}"],
        "inRange": {"color": list(TWO_WAY if least < 0 else SCALE)},
    }
    return option


def _value_axis(measure: Measure) -> Option:
    ends = {"min": -1, "max": 1} if measure.limits == (-1.0, 1.0) else {"min": 0}
    return ends | {"axisLabel": {"formatter": f"{{value}}{measure.unit}"}}


def _format(measure: Measure) -> str:
    return "%.0f%%" if measure.unit else "%.2f" if measure.limits else "%.0f"
