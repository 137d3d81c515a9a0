"""How charts mark the times without rows: hatched, dotted or crossed, never a plain hole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboard.absence import KINDS, LOST, NO_VIDEO, NOT_HEARD, Absence
from dashboard.choices import Span

Option = dict[str, Any]
MOSTLY = 0.5
"""The part of a bucket without looks from which on all of it is marked."""
STRIP = "camera"
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
    NOT_HEARD: {
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
"""What a bar of each kind is filled with; the legend of the pages has the same in its style."""


def full_bars(
    found: Sequence[Absence], starts: Sequence[int], bucket_ms: int, empty: Sequence[bool]
) -> list[Option]:
    """For a chart of shares: buckets without looks that are mostly absent, marked from top to
    bottom."""
    parts = [_parts(found, start, bucket_ms) for start in starts]
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
    found: Sequence[Absence], starts: Sequence[int], bucket_ms: int, grid: int
) -> list[Option]:
    """A strip of its own that marks the part of every bucket, however short; of several cameras,
    the part of all their time."""
    parts = [_parts(found, start, bucket_ms) for start in starts]
    return [
        _bars(kind, [round(100 * part[kind], 1) or None for part in parts], grid)
        | {"tooltip": {"valueFormatter": "%.0f%%"}}
        for kind in KINDS
    ]


def strip_axis(grid: int) -> Option:
    """The strip's axis, 0 to 100, without a scale."""
    quiet = {"axisLabel": {"show": False}, "splitLine": {"show": False}}
    named = {"name": STRIP, "nameLocation": "middle", "nameRotate": 0, "nameGap": 8}
    named |= {"nameTextStyle": {"align": "right"}}
    return {"gridIndex": grid, "min": 0, "max": 100, "interval": 100} | quiet | named


def areas(found: Absence, span: Span, grid: int, is_named: bool) -> Option:
    """For a chart along a line of time: a series that marks the stretches from top to bottom."""
    label = {"show": is_named, "position": "inside"}
    bands = [
        [
            {
                "xAxis": max(start, span.since_ms),
                "name": kind,
                "itemStyle": {"color": PATTERNS[kind]["color"], "opacity": 1}
                | {"borderColor": PATTERNS[kind]["decal"]["color"], "borderWidth": 1},
            },
            {"xAxis": min(end, span.until_ms)},
        ]
        for kind, start, end in found.bands()
    ]
    return {
        "type": "line",
        "xAxisIndex": grid,
        "yAxisIndex": grid,
        "data": [],
        "z": 5,
        "markArea": {"silent": True, "label": label, "data": bands},
    }


def _parts(found: Sequence[Absence], start_ms: int, bucket_ms: int) -> dict[str, float]:
    """The mean part of each kind; what is lost is not counted as anything else too."""
    end_ms = start_ms + bucket_ms
    mean = {
        kind: sum(one.part(kind, start_ms, end_ms) for one in found) / max(len(found), 1)
        for kind in KINDS
    }
    left = 1 - mean[LOST]
    rest = mean[NO_VIDEO] + mean[NOT_HEARD]
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
