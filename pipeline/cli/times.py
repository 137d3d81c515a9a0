"""Times and ages that options name."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from pipeline.errors import ConfigError

UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")
_TIME = "give a UTC time such as 2026-11-29T10:00, or an age such as 30d, 12h or 15m"


def parse_time(text: str, now_ms: int, option: str) -> int:
    """Milliseconds UTC of a time, or of an age before now; raises ConfigError."""
    if age := _DURATION.fullmatch(text):
        return max(now_ms - round(float(age[1]) * UNITS_MS[age[2]]), 0)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError("not a time", f"{option} {text}", _TIME) from error
    return round(time.replace(tzinfo=time.tzinfo or UTC).timestamp() * 1000)
