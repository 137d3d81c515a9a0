"""Times as people say them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
FIRST_MS, LAST_MS = -62_135_510_400_000, 253_402_214_400_000
"""The second day of the year 1, and the last of 9999: with them every zone has a day to spare."""


def duration(ms: int) -> str:
    """How long, in one or two units.

    >>> duration(740), duration(4_230), duration(200_000), duration(4_320_000)
    ('740 ms', '4.2 s', '3 min 20 s', '1 h 12 min')
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


def ago(then_ms: int, now_ms: int) -> str:
    """How long before now, in one unit; the future is now.

    >>> ago(0, 400), ago(0, 12_000), ago(0, 7_300_000)
    ('now', '12 s ago', '2 h ago')
    """
    ms = now_ms - then_ms
    if ms < SECOND_MS:
        return "now"
    units = ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s"))
    size, name = next((size, name) for size, name in units if ms >= size)
    return f"{ms // size} {name} ago"


def zone_of(name: str | None) -> tzinfo:
    """The time zone of that IANA name; UTC where there is none."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def local(ms: int, zone: tzinfo) -> datetime:
    """That moment in that zone; beyond the years that a calendar has, the nearest."""
    return datetime.fromtimestamp(min(max(ms, FIRST_MS), LAST_MS) / SECOND_MS, zone)


def offset_ms(ms: int, zone: tzinfo) -> int:
    """How far that zone's clocks are ahead of UTC at that moment."""
    ahead = local(ms, zone).utcoffset()
    return round(ahead.total_seconds() * SECOND_MS) if ahead else 0


def time_of_day(ms: int, now_ms: int, zone: tzinfo) -> str:
    """`14:03:20`; with the day in front of it where that is not today."""
    then, today = local(ms, zone), local(now_ms, zone).date()
    return f"{then:%H:%M:%S}" if then.date() == today else f"{then:%-d %b %H:%M:%S}"


def media_time(ms: int) -> str:
    """A place in a recording.

    >>> media_time(72_400), media_time(3_672_000)
    ('1:12', '1:01:12')
    """
    seconds = ms // SECOND_MS
    minutes = f"{seconds // 60 % 60}:{seconds % 60:02}"
    return minutes if seconds < 3600 else f"{seconds // 3600}:{minutes:0>5}"
