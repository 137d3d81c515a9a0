"""The states of a camera: one word each for `run`, `cameras list`, records, metrics and pages.

A `camera_status` record knows five of them; it carries the others as `offline`, with their word at
the head of its reason, so a reader of any version understands it.
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
    REGISTERED: "It is registered, and nothing has been heard of it yet.",
    DISABLED: "It is registered and is not to be read.",
    UNREGISTERED: "It was stopped and is registered no more; its rows stay.",
    UNKNOWN: "Nothing has been heard of it for 90 s: look whether `undercam run` still works.",
    CONNECTING: "It is opened for the first time; no frame has come yet.",
    ONLINE: "Frames come, and are analysed in time.",
    LAGGING: "Frames come, and are analysed more than 2 s after their capture.",
    OFFLINE: "No frame comes; it is tried again and again, and may come back by itself.",
    REFUSED: "It cannot be read until somebody changes something, as its reason says.",
    QUARANTINED: "Its process died twice; it has one of its own, and no frame has come yet.",
    FAILED: "A stage or the source failed, as its reason says; it is tried again later.",
    STOPPED: "It is read no more because it was told to stop.",
    ENDED: "A file was read to its end.",
}
"""What each of them says, in one sentence."""
UNKNOWN_AFTER_MS = 90_000
"""A camera that is read tells its state every few seconds, one that is tried again at least once a
minute: past this time without a word nobody knows."""
READ = (ONLINE, LAGGING)
"""While frames come."""
AT_REST = (ENDED, STOPPED)
"""What stays true though nobody repeats it."""
OF_A_RUN = (
    *(CONNECTING, ONLINE, LAGGING, OFFLINE, REFUSED, QUARANTINED),
    *(FAILED, STOPPED, ENDED),
)
"""What a camera process knows; the others are known from the register and the time."""
RECORDED = (ONLINE, OFFLINE, LAGGING, REFUSED, QUARANTINED)
"""Those that a `camera_status` record names itself."""
_FILE_RUN = re.compile(r"[0-9a-f]{12}")
_EPOCH_MS = 100_000_000_000
"""Times before this one, in 1973, count from a file's start: older records have them."""


@dataclass(frozen=True)
class CameraState:
    """A state, since when it holds (UTC milliseconds), and why: "" as long as all is well."""

    state: str
    since_ms: int
    reason: str = ""


def to_record(state: str, reason: str) -> tuple[str, str]:
    """State and reason as a `camera_status` record has them.

    >>> to_record("online", ""), to_record("ended", "end of file"), to_record("stopped", "")
    (('online', ''), ('offline', 'ended: end of file'), ('offline', 'stopped'))
    """
    if state in RECORDED:
        return state, reason
    return OFFLINE, f"{state}: {reason}" if reason else state


def from_record(state: str, run: str, reason: str) -> tuple[str, str]:
    """State and reason of a record, of those from before there were more than five states too.

    >>> from_record("offline", "e7", "ended: end of file")
    ('ended', 'end of file')
    >>> from_record("offline", "0123456789ab", "end of file")
    ('ended', 'end of file')
    """
    word, _, rest = reason.partition(": ")
    if state == OFFLINE and word in OF_A_RUN and word not in RECORDED:
        return word, rest
    if state == OFFLINE and _FILE_RUN.fullmatch(run):
        return ENDED, reason
    return state, reason


def begun_ms(since_ms: int, heard_ms: int) -> int:
    """Since when a record's state holds: since it was heard, where it says a place in a file."""
    return since_ms if is_time_of_day(since_ms) else heard_ms


def is_time_of_day(ms: int) -> bool:
    """Whether it is a moment, and not a place in a file."""
    return ms >= _EPOCH_MS


def state_now(
    told: CameraState | None, heard_ms: int, now_ms: int, *, is_registered: bool, is_enabled: bool
) -> CameraState | None:
    """How a camera stands now, given what it told last and when it was last heard of.

    None: it is not even known since when nothing is known.
    """
    if told and told.state not in AT_REST and now_ms - heard_ms > UNKNOWN_AFTER_MS:
        last = f"last heard: {told.state}"
        told = CameraState(UNKNOWN, heard_ms, f"{last}, {told.reason}" if told.reason else last)
    is_read = told is not None and told.state in READ
    if is_registered and not is_enabled and not is_read:
        return CameraState(DISABLED, told.since_ms if told else 0)
    if told and told.state == STOPPED and not is_registered:
        return CameraState(UNREGISTERED, told.since_ms)
    return told


def state_after(error: Exception) -> str:
    """The state of a camera that this error ended."""
    return REFUSED if isinstance(error, InputError | ConfigError) else FAILED
