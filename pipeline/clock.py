"""Wall time as an argument: everything that stamps takes a Clock, and tests hand in their own."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns milliseconds since 1970-01-01 UTC."""


def wall_clock() -> int:
    """Milliseconds since 1970-01-01 UTC, from this machine."""
    return time.time_ns() // 1_000_000
