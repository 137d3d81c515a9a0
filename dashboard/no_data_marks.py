"""How charts mark the times without data: hatched, dotted or crossed, never just left empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboard.no_data import KINDS, LOST, NO_STATUS, NO_VIDEO, NoData
from dashboard.selection import TimeRange

Option = dict[str, Any]
MOSTLY = 0.5
"""A bucket without observations is marked from this share without data on."""
STRIP = "video"
"""Name of the axis of the strip below a chart."""
_GREY, _RED = "#7a8794", "#d2453a"
PATTERNS: dict[str, Option] = {
    NO_VIDEO: {
        "color": "rgba(122,135,148,0.16)",
        "decal": {
            "symbol": "rect",
            "color": _GREY,
            "dashArrayX": [1, 0],
            "dashArrayY": [2, 5],
            "rotation": -0.785,
        },
    },
    NO_STATUS: {
        "color": "rgba(122,135,148,0.08)",
        "decal": {
            "symbol": "circle",
            "color": _GREY,
            "dashArrayX": [[7, 7], [0, 7, 7, 0]],
            "dashArrayY": [7, 0],
            "symbolSize": 0.5,
        },
    },
    LOST: {
        "color": "rgba(210,69,58,0.25)",
        "decal": {
            "symbol": "rect",
            "color": _RED,
            "dashArrayX": [1, 0],
            "dashArrayY": [3, 3],
            "rotation": 0.785,
        },
    },
}
"""ECharts item style per kind; style.css draws the same patterns in the legend."""


def full_height_bars(
    found: Sequence[NoData], starts: Sequence[int], bucket_ms: int, empty: Sequence[bool]
) -> list[Option]:
    """For a chart of shares: full-height bars in the buckets without observations that are mostly
    without data."""
    parts = [_mean_shares(found, start, bucket_ms) for start in starts]
    marked = [
        max(KINDS, key=lambda kind: part[kind]) if bare and sum(part.values()) >= MOSTLY else ""
        for part, bare in zip(parts, empty, strict=True)
    ]
    return [
        _bars(kind, [100 if one == kind else None for one in marked], 0)
        | {"tooltip": {"show": False}}
        for kind in KINDS
    ]


def strip_bars(
    found: Sequence[NoData], starts: Sequence[int], bucket_ms: int, grid: int
) -> list[Option]:
    """A strip below a chart that shows the share without data of every bucket, however small; of
    several cameras, the share of their total time."""
    parts = [_mean_shares(found, start, bucket_ms) for start in starts]
    return [
        _bars(kind, [round(100 * part[kind], 1) or None for part in parts], grid)
        | {"tooltip": {"valueFormatter": "%.0f%%"}}
        for kind in KINDS
    ]


def strip_axis(grid: int) -> Option:
    """The axis of the strip, 0 to 100 %, without tick labels."""
    quiet = {"axisLabel": {"show": False}, "splitLine": {"show": False}}
    named = {"name": STRIP, "nameLocation": "middle", "nameRotate": 0, "nameGap": 8}
    named |= {"nameTextStyle": {"align": "right"}}
    return {"gridIndex": grid, "min": 0, "max": 100, "interval": 100} | quiet | named


def marked_areas(found: NoData, time: TimeRange, grid: int, is_named: bool) -> Option:
    """For a chart with a continuous time axis: a series that marks times without data."""
    label = {"show": is_named, "position": "inside"}
    intervals = [
        [
            {
                "xAxis": max(start, time.since_ms),
                "name": kind,
                "itemStyle": {"color": PATTERNS[kind]["color"], "opacity": 1}
                | {"borderColor": PATTERNS[kind]["decal"]["color"], "borderWidth": 1},
            },
            {"xAxis": min(end, time.until_ms)},
        ]
        for kind, start, end in found.intervals()
    ]
    return {
        "type": "line",
        "xAxisIndex": grid,
        "yAxisIndex": grid,
        "data": [],
        "z": 5,
        "markArea": {"silent": True, "label": label, "data": intervals},
    }


def _mean_shares(found: Sequence[NoData], start_ms: int, bucket_ms: int) -> dict[str, float]:
    """The mean share of each kind. A time of lost events counts as no other kind as well."""
    end_ms = start_ms + bucket_ms
    mean = {
        kind: sum(one.share(kind, start_ms, end_ms) for one in found) / max(len(found), 1)
        for kind in KINDS
    }
    left = 1 - mean[LOST]
    rest = mean[NO_VIDEO] + mean[NO_STATUS]
    scale = min(1.0, left / rest) if rest else 1.0
    return {kind: part if kind == LOST else part * scale for kind, part in mean.items()}


def _bars(kind: str, data: Sequence[float | None], grid: int) -> Option:
    return {
        "type": "bar",
        "name": kind,
        "stack": f"stack {grid}",
        "xAxisIndex": grid,
        "yAxisIndex": grid,
        "barCategoryGap": "0%",
        "itemStyle": PATTERNS[kind],
        "emphasis": {"disabled": True},
        "data": list(data),
    }
