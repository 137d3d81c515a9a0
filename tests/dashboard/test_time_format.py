"""Times as people say them."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from dashboard.time_format import (
    format_ago,
    format_duration,
    format_media_time,
    format_moment,
    format_range,
    load_zone,
    utc_offset_ms,
)

HOUR = 3_600_000
NOON = 1_795_003_200_000
"""18 November 2026, 12:00:00 UTC."""


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (9_949, "9.9 s"),
        (10_000, "10 s"),
        (59_999, "59 s"),
        (60_000, "1 min"),
        (61_000, "1 min 1 s"),
        (HOUR, "1 h"),
        (25 * HOUR + 59_000, "1 d 1 h"),
        (24 * HOUR + 60_000, "1 d"),
    ],
)
def test_duration(ms: int, said: str) -> None:
    assert format_duration(ms) == said


@pytest.mark.parametrize(
    ("ms", "said"),
    [(-500, "now"), (999, "now"), (1_000, "1 s ago"), (59_999, "59 s ago"), (50 * HOUR, "2 d ago")],
)
def test_ago(ms: int, said: str) -> None:
    assert format_ago(NOON - ms, NOON) == said


def test_the_day_is_always_said() -> None:
    vienna = ZoneInfo("Europe/Vienna")
    assert format_moment(NOON, vienna) == "Wed 18 Nov 13:00"
    assert format_moment(NOON - 13 * HOUR - 1_000, vienna) == "Tue 17 Nov 23:59:59"
    assert format_range(NOON, NOON + HOUR, vienna) == "Wed 18 Nov 13:00 – 14:00"
    assert format_range(NOON, NOON + 11 * HOUR, vienna) == "Wed 18 Nov 13:00 – Thu 19 Nov 00:00"


def test_offset_follows_summer_time() -> None:
    vienna = ZoneInfo("Europe/Vienna")
    assert utc_offset_ms(NOON, vienna) == HOUR
    assert utc_offset_ms(NOON - 120 * 24 * HOUR, vienna) == 2 * HOUR
    assert utc_offset_ms(NOON, UTC) == 0


@pytest.mark.parametrize("name", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"])
@pytest.mark.parametrize("ms", [253_402_300_799_999, 2**53, 2**63 - 1, -1, -(2**53), -(2**63)])
def test_moments_that_no_calendar_has(ms: int, name: str) -> None:
    """Rows of before such times were refused may hold them, and readers have to live with it."""
    assert format_moment(ms, load_zone(name)) != ""
    assert abs(utc_offset_ms(ms, load_zone(name))) <= 14 * HOUR
    assert format_duration(abs(ms)) != ""
    assert format_media_time(ms) != ""
    assert format_ago(ms, NOON) != ""


@pytest.mark.parametrize("name", [None, "", "Nowhere/Land", "Europe", "../etc/passwd", "\0"])
def test_an_unknown_zone_is_utc(name: str | None) -> None:
    assert load_zone(name) is UTC


def test_media_time() -> None:
    assert [format_media_time(ms) for ms in (0, 59_999, 600_000, 36_000_000)] == [
        "0:00",
        "0:59",
        "10:00",
        "10:00:00",
    ]
