"""The states of a camera: the same words in `run`, `cameras list`, records, metrics and pages.

The `state` of a `camera_status` record has five values. The other states are recorded as `offline`
with their word at the start of the reason, so that a reader of any version understands the record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pipeline.errors import ConfigError, InputError

REGISTERED: Final = "registered"
DISABLED: Final = "disabled"
UNREGISTERED: Final = "unregistered"
UNKNOWN: Final = "unknown"
CONNECTING: Final = "connecting"
ONLINE: Final = "online"
LAGGING: Final = "lagging"
OFFLINE: Final = "offline"
REFUSED: Final = "refused"
QUARANTINED: Final = "quarantined"
FAILED: Final = "failed"
STOPPED: Final = "stopped"
ENDED: Final = "ended"
MEANINGS: dict[str, str] = {
    REGISTERED: "Registered; no status has been received yet.",
    DISABLED: "Registered, and disabled by its settings.",
    UNREGISTERED: "Stopped and no longer registered; its rows are kept.",
    UNKNOWN: "No status for 90 s: check that `undercam run` is running.",
    CONNECTING: "Being opened for the first time; no frame has arrived yet.",
    ONLINE: "Frames arrive and are analysed in time.",
    LAGGING: "Frames arrive and are analysed more than 2 s after capture.",
    OFFLINE: "No frames; reconnecting automatically.",
    REFUSED: "Cannot be read until its settings or access rights change, see the reason.",
    QUARANTINED: "Its process died twice; retried in a process of its own, no frame yet.",
    FAILED: "A stage or the source failed, see the reason; it is restarted later.",
    STOPPED: "Stopped on request.",
    ENDED: "A file, read to its end.",
}
"""One sentence per state."""
UNKNOWN_AFTER_MS = 90_000
"""A camera that is read reports its state every few seconds, one that is retried at least once a
minute. After this long without a report its state is unknown."""
VIDEO_STATES = (ONLINE, LAGGING)
"""States in which frames arrive."""
FINAL_STATES = (ENDED, STOPPED)
"""States that last although nobody repeats them."""
RUN_STATES = (
    *(CONNECTING, ONLINE, LAGGING, OFFLINE, REFUSED, QUARANTINED),
    *(FAILED, STOPPED, ENDED),
)
"""States that a camera's own process reports; the others follow from the registry and the time."""
RECORDED_STATES = (ONLINE, OFFLINE, LAGGING, REFUSED, QUARANTINED)
"""States that a `camera_status` record has a word for."""
_FILE_RUN = re.compile(r"[0-9a-f]{12}")
_EPOCH_MS = 100_000_000_000
"""Smaller times (before March 1973) count from a file's start, as in records of older versions."""


@dataclass(frozen=True)
class CameraState:
    """A state, the time since which it holds (UTC milliseconds), and the reason ("" for none)."""

    state: str
    since_ms: int
    reason: str = ""


def to_record(state: str, reason: str) -> tuple[str, str]:
    """State and reason in the form of a `camera_status` record.

    >>> to_record("online", ""), to_record("ended", "end of file"), to_record("stopped", "")
    (('online', ''), ('offline', 'ended: end of file'), ('offline', 'stopped'))
    """
    if state in RECORDED_STATES:
        return state, reason
    return OFFLINE, f"{state}: {reason}" if reason else state


def from_record(state: str, run: str, reason: str) -> tuple[str, str]:
    """The inverse of `to_record`, for records of every version.

    >>> from_record("offline", "e7", "ended: end of file")
    ('ended', 'end of file')
    >>> from_record("offline", "0123456789ab", "end of file")
    ('ended', 'end of file')
    """
    word, _, rest = reason.partition(": ")
    if state == OFFLINE and word in RUN_STATES and word not in RECORDED_STATES:
        return word, rest
    if state == OFFLINE and _FILE_RUN.fullmatch(run):
        return ENDED, reason
    return state, reason


def state_start_ms(since_ms: int, stored_ms: int) -> int:
    """When a recorded state began; `stored_ms` where `since_ms` is a position in a file."""
    return since_ms if is_time_of_day(since_ms) else stored_ms


def is_time_of_day(ms: int) -> bool:
    """Whether these are milliseconds UTC, and not a position in a file."""
    return ms >= _EPOCH_MS


def current_state(
    reported: CameraState | None,
    last_update_ms: int,
    now_ms: int,
    *,
    is_registered: bool,
    is_enabled: bool,
) -> CameraState | None:
    """The state of a camera now, from its last report and the registry; None if it never reported.

    `last_update_ms` is when its last status or observation was stored.
    """
    is_old = now_ms - last_update_ms > UNKNOWN_AFTER_MS
    if reported and reported.state not in FINAL_STATES and is_old:
        last = f"last report: {reported.state}"
        reason = f"{last}, {reported.reason}" if reported.reason else last
        reported = CameraState(UNKNOWN, last_update_ms, reason)
    has_video = reported is not None and reported.state in VIDEO_STATES
    # The settings say what will be; while frames still arrive, that is what is.
    if is_registered and not is_enabled and not has_video:
        return CameraState(DISABLED, reported.since_ms if reported else 0)
    if reported and reported.state == STOPPED and not is_registered:
        return CameraState(UNREGISTERED, reported.since_ms)
    return reported


def state_after_error(error: Exception) -> str:
    """The state of a camera whose run ended with this error."""
    return REFUSED if isinstance(error, InputError | ConfigError) else FAILED
