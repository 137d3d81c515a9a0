"""Formats times and durations for display."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
FIRST_MS, LAST_MS = -62_135_510_400_000, 253_402_214_400_000
"""Limits of `datetime`, each a day inside, so that every time zone's offset fits."""


def format_duration(ms: int) -> str:
    """A duration in one or two units.

    >>> [format_duration(ms) for ms in (740, 4_230, 200_000, 4_320_000)]
    ['740 ms', '4.2 s', '3 min 20 s', '1 h 12 min']
    """
    if ms < SECOND_MS:
        return f"{ms} ms"
    if ms < 10 * SECOND_MS:
        return f"{ms / SECOND_MS:.1f} s"
    units = ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s"))
    first = next(i for i, (size, _) in enumerate(units) if ms >= size)
    parts = [(ms // units[first][0], units[first][1])]
    if first + 1 < len(units):
        size, name = units[first + 1]
        parts.append((ms % units[first][0] // size, name))
    return " ".join(f"{number} {name}" for number, name in parts if number)


def format_ago(then_ms: int, now_ms: int) -> str:
    """Time since a moment, in one unit; `now` below a second and for the future.

    >>> format_ago(0, 400), format_ago(0, 12_000), format_ago(0, 7_300_000)
    ('now', '12 s ago', '2 h ago')
    """
    ms = now_ms - then_ms
    if ms < SECOND_MS:
        return "now"
    units = ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s"))
    size, name = next((size, name) for size, name in units if ms >= size)
    return f"{ms // size} {name} ago"


def load_zone(name: str | None) -> tzinfo:
    """The time zone with this IANA name; UTC for an unknown one."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def to_local(ms: int, zone: tzinfo) -> datetime:
    """A moment in a time zone, clipped to the years that `datetime` can hold."""
    return datetime.fromtimestamp(min(max(ms, FIRST_MS), LAST_MS) / SECOND_MS, zone)


def utc_offset_ms(ms: int, zone: tzinfo) -> int:
    """Milliseconds by which local time is ahead of UTC at that moment."""
    ahead = to_local(ms, zone).utcoffset()
    return round(ahead.total_seconds() * SECOND_MS) if ahead else 0


def format_moment(ms: int, zone: tzinfo) -> str:
    """Day and time of day: `Wed 18 Nov 14:03:20`; without the seconds of a whole minute."""
    return f"{format_day(ms, zone)} {format_clock(ms, zone)}"


def format_day(ms: int, zone: tzinfo) -> str:
    """`Wed 18 Nov`."""
    return f"{to_local(ms, zone):%a %-d %b}"


def format_clock(ms: int, zone: tzinfo) -> str:
    """`14:03:20`, or `14:03`."""
    then = to_local(ms, zone)
    return f"{then:%H:%M:%S}" if then.second else f"{then:%H:%M}"


def format_range(since_ms: int, until_ms: int, zone: tzinfo) -> str:
    """`Wed 18 Nov 14:00 – 15:00`; the second day too where it is another one."""
    is_same_day = to_local(since_ms, zone).date() == to_local(until_ms, zone).date()
    last = format_clock(until_ms, zone) if is_same_day else format_moment(until_ms, zone)
    return f"{format_moment(since_ms, zone)} – {last}"


def format_media_time(ms: int) -> str:
    """A position in a recording.

    >>> format_media_time(72_400), format_media_time(3_672_000)
    ('1:12', '1:01:12')
    """
    seconds = ms // SECOND_MS
    minutes = f"{seconds // 60 % 60}:{seconds % 60:02}"
    return minutes if seconds < 3600 else f"{seconds // 3600}:{minutes:0>5}"
