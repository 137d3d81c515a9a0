"""Which time a page shows: a preset, which moves on with the clock, or times that stay.

Both stand in the address, `?window=1+h` or `?from=2026-11-17T14:00:00Z&to=...`, so that a link
shows the same to whoever opens it; other pages keep the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

import streamlit as st

from dashboard.database import now_ms
from dashboard.page import viewer_zone
from dashboard.time_format import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    format_range,
    to_local,
)

WINDOWS = {
    "2 min": 2 * MINUTE_MS,
    "10 min": 10 * MINUTE_MS,
    "1 h": HOUR_MS,
    "6 h": 6 * HOUR_MS,
    "24 h": DAY_MS,
    "7 days": 7 * DAY_MS,
}
"""Presets of a length, up to now."""
TODAY, YESTERDAY = "today", "yesterday"
PRESETS = (*WINDOWS, TODAY, YESTERDAY)
DEFAULT = "10 min"
WINDOW, FROM, TO = "window", "from", "to"
"""The query parameters."""
LEAST_MS, MOST_MS = SECOND_MS, 366 * DAY_MS
_KEPT = "chosen time"


@dataclass(frozen=True)
class TimeChoice:
    """[since_ms, until_ms) in milliseconds UTC; `preset` is one of PRESETS, or "" for times that
    stay."""

    since_ms: int
    until_ms: int
    preset: str = ""

    def to_parameters(self) -> dict[str, str]:
        """The query parameters of a link to it."""
        if self.preset:
            return {WINDOW: self.preset}
        return {FROM: format_utc(self.since_ms), TO: format_utc(self.until_ms)}

    def shift(self, share: float) -> TimeChoice:
        """Times that stay, later by a share of its length."""
        by = round((self.until_ms - self.since_ms) * share)
        return TimeChoice(self.since_ms + by, self.until_ms + by)

    def widen(self) -> TimeChoice:
        """Times that stay, twice as long about the same middle."""
        half = min(self.until_ms - self.since_ms, MOST_MS // 2) // 2
        return TimeChoice(self.since_ms - half, self.until_ms + half)


def make_preset(name: str, now: int, zone: tzinfo) -> TimeChoice:
    """The times of a preset, as of now."""
    if name in WINDOWS:
        return TimeChoice(now - WINDOWS[name], now, name)
    midnight = to_local(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    if name == TODAY:
        return TimeChoice(_to_ms(midnight), max(now, _to_ms(midnight) + LEAST_MS), name)
    return TimeChoice(_to_ms(midnight - timedelta(days=1)), _to_ms(midnight), YESTERDAY)


def parse_choice(parameters: Mapping[str, str], now: int, zone: tzinfo) -> TimeChoice | None:
    """The choice that an address names; None where it names none, or none that can be read."""
    since, until = (parse_time(parameters.get(name, ""), zone) for name in (FROM, TO))
    if since is not None and until is not None:
        first, last = sorted((since, until))
        return TimeChoice(first, min(max(last, first + LEAST_MS), first + MOST_MS))
    name = parameters.get(WINDOW, "")
    return make_preset(name, now, zone) if name in PRESETS else None


def parse_time(text: str, zone: tzinfo) -> int | None:
    """Milliseconds UTC of an ISO 8601 time, in `zone` where it names none; None for other text.

    >>> parse_time("1970-01-01T00:00:02Z", UTC), parse_time("soon", UTC)
    (2000, None)
    """
    try:
        found = datetime.fromisoformat(text)
        return _to_ms(found if found.tzinfo else found.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        return None


def format_utc(ms: int) -> str:
    """A moment as the address has it: ISO 8601 in UTC.

    >>> format_utc(1_795_003_200_000)
    '2026-11-18T12:00:00Z'
    """
    then = to_local(ms, UTC)
    digits = "milliseconds" if ms % SECOND_MS else "seconds"
    return then.isoformat(timespec=digits).replace("+00:00", "Z")


def read_choice() -> TimeChoice:
    """The viewer's choice: of the address, else of the page before, else the default."""
    now, zone = now_ms(), viewer_zone()
    choice = parse_choice(st.query_params, now, zone)
    if choice is None and (kept := st.session_state.get(_KEPT)):
        choice = parse_choice(kept, now, zone)
        if choice:
            st.query_params.update(kept)
    return choice or make_preset(DEFAULT, now, zone)


def choose(choice: TimeChoice) -> None:
    """Puts a choice into the address."""
    for name in (WINDOW, FROM, TO):
        st.query_params.pop(name, None)
    st.query_params.update(choice.to_parameters())
    st.session_state[_KEPT] = choice.to_parameters()


def select_time() -> TimeChoice:
    """The presets; returns the choice."""
    choice = read_choice()
    key = f"{WINDOW} {choice.preset}"  # see dashboard.filters

    def take_preset() -> None:
        name = st.session_state[key]
        # A preset that is switched off leaves the times that it stood for.
        choose(make_preset(name, now_ms(), viewer_zone()) if name else _fix(choice))

    st.segmented_control(
        "Time range", PRESETS, default=choice.preset or None, key=key, on_change=take_preset
    )
    return choice


def show_time_tools(choice: TimeChoice) -> None:
    """A line that says the times, with the buttons that change them."""
    with st.container(horizontal=True, vertical_alignment="center", key="times"):
        zone = viewer_zone()
        st.html(
            f'<p class="uc-times"><strong>{format_range(choice.since_ms, choice.until_ms, zone)}'
            f"</strong> {zone}</p>"
        )
        _button("Earlier", choice.shift(-1), "The time of the same length before.")
        _button("Later", choice.shift(1), "The time of the same length after.")
        _button("Zoom out", choice.widen(), "Twice as long. Drag over a chart to zoom in.")
        if choice.preset:
            _button(
                "Keep these times", _fix(choice), "Times that stay, for a link that stays true."
            )
        with st.popover("From – to"):
            _show_calendar(choice, zone)


def _button(label: str, choice: TimeChoice, meaning: str) -> None:
    st.button(label, on_click=choose, args=[choice], help=meaning, type="tertiary")


def _fix(choice: TimeChoice) -> TimeChoice:
    return TimeChoice(choice.since_ms, choice.until_ms)


def _show_calendar(choice: TimeChoice, zone: tzinfo) -> None:
    first, last = datetime(2000, 1, 1), _minute(now_ms() + DAY_MS, zone)
    with st.form("calendar", border=False):
        for label, key, ms in (
            ("From", "calendar from", choice.since_ms),
            ("To", "calendar to", choice.until_ms),
        ):
            st.datetime_input(
                f"{label} ({zone})",
                value=min(max(_minute(ms, zone), first), last),
                min_value=first,
                max_value=last,
                key=key,
                step=timedelta(minutes=1),
                format="YYYY-MM-DD",
            )
        st.form_submit_button("Show", on_click=_take_calendar(zone))


def _minute(ms: int, zone: tzinfo) -> datetime:
    """The minute of a moment on the clock of a zone, without its name."""
    return to_local(ms, zone).replace(tzinfo=None, second=0, microsecond=0)


def _take_calendar(zone: tzinfo) -> Callable[[], None]:
    def take() -> None:
        found = (st.session_state.get(key) for key in ("calendar from", "calendar to"))
        times = [time for time in found if isinstance(time, datetime)]
        if len(times) == 2:
            first, last = sorted(_to_ms(time.replace(tzinfo=zone)) for time in times)
            choose(TimeChoice(first, max(last, first + MINUTE_MS)))

    return take


def _to_ms(time: datetime) -> int:
    return round(time.timestamp() * SECOND_MS)
