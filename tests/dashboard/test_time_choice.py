"""The time of a page, as the address has it."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.time_choice import (
    MOST_MS,
    PRESETS,
    TimeChoice,
    format_utc,
    make_preset,
    parse_choice,
    parse_time,
)
from dashboard.time_format import DAY_MS, HOUR_MS

NOON = 1_795_003_200_000
"""18 November 2026, 12:00:00 UTC."""
VIENNA = ZoneInfo("Europe/Vienna")
TIMES = st.integers(0, 4_000_000_000_000)


@given(TIMES, TIMES)
def test_an_address_leads_to_the_same_times(first: int, second: int) -> None:
    since, until = sorted((first, second))
    until = min(max(until, since + 1_000), since + MOST_MS)
    choice = TimeChoice(since, until)
    for zone in (UTC, VIENNA):
        assert parse_choice(choice.to_parameters(), NOON, zone) == choice


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_moves_with_the_clock(name: str) -> None:
    for now in (NOON, NOON + DAY_MS):
        choice = parse_choice({"window": name}, now, VIENNA)
        assert choice == make_preset(name, now, VIENNA)
        assert choice is not None
        assert choice.to_parameters() == {"window": name}
        assert choice.since_ms < choice.until_ms <= now


def test_days_are_those_of_the_viewer() -> None:
    today, yesterday = (make_preset(name, NOON, VIENNA) for name in ("today", "yesterday"))
    assert format_utc(today.since_ms) == "2026-11-17T23:00:00Z"
    assert (today.until_ms, yesterday.until_ms) == (NOON, today.since_ms)
    assert yesterday.until_ms - yesterday.since_ms == DAY_MS
    winter = NOON - 23 * DAY_MS  # the day after the clocks went back
    assert make_preset("yesterday", winter, VIENNA).to_parameters() == {"window": "yesterday"}
    back = make_preset("yesterday", winter, VIENNA)
    assert back.until_ms - back.since_ms == 25 * HOUR_MS


def test_a_time_without_a_zone_is_the_viewers() -> None:
    assert parse_time("2026-11-18T13:00", VIENNA) == NOON
    assert parse_time("2026-11-18T13:00+01:00", UTC) == NOON
    assert parse_time("2026-11-18T12:00Z", VIENNA) == NOON


@given(st.text(), st.text(), st.text())
def test_no_address_breaks_a_page(window: str, since: str, until: str) -> None:
    choice = parse_choice({"window": window, "from": since, "to": until}, NOON, VIENNA)
    assert choice is None or choice.since_ms < choice.until_ms


def test_times_that_are_too_far_apart_or_swapped() -> None:
    found = parse_choice({"from": "2026-11-18", "to": "1990-01-01"}, NOON, UTC)
    assert found is not None
    assert (found.until_ms - found.since_ms, format_utc(found.since_ms)) == (
        MOST_MS,
        "1990-01-01T00:00:00Z",
    )


def test_moving() -> None:
    hour = TimeChoice(NOON, NOON + HOUR_MS, "1 h")
    assert hour.shift(-1) == TimeChoice(NOON - HOUR_MS, NOON)
    assert hour.widen() == TimeChoice(NOON - HOUR_MS // 2, NOON + 3 * HOUR_MS // 2)
