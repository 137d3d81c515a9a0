"""Why a time has no face in the database: nobody in view, no video, no status, or lost events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dashboard.database import query, query_each_minute
from dashboard.selection import TimeRange
from dashboard.time_format import format_duration
from pipeline.camera_states import UNKNOWN
from pipeline.store.queries import GapRow, StateInterval, camera_states, recent_gaps

NO_VIDEO, NO_STATUS, LOST = "no video", "no status", "events lost"
KINDS = (NO_VIDEO, NO_STATUS, LOST)
"""The camera is offline, refused, stopped or the like; it sent no status; events are known to be
lost. A time without faces that is none of these is a time with nobody in view."""
MAX_GAPS = 500
"""At most this many losses are drawn."""


@dataclass(frozen=True)
class NoData:
    """The states of a camera over a time range, and its known losses."""

    states: Sequence[StateInterval] = ()
    gaps: Sequence[GapRow] = ()

    def share(self, kind: str, since_ms: int, until_ms: int) -> float:
        """The share of [since_ms, until_ms) that is of one of KINDS, in [0, 1].

        A loss counts as at least a tenth: one of a single event has no duration, and would not
        be visible.
        """
        whole = max(until_ms - since_ms, 1)
        if kind == LOST:
            found = [(max(g.since_ms, since_ms), min(g.until_ms, until_ms - 1)) for g in self.gaps]
            inside = [(start, end) for start, end in found if end >= start]
            return max(0.1, _union_ms(inside) / whole) if inside else 0.0
        times = [
            (max(one.since_ms, since_ms), min(one.until_ms, until_ms))
            for one in self.states
            if not one.has_video and (one.state == UNKNOWN) == (kind == NO_STATUS)
        ]
        return _union_ms((start, end) for start, end in times if end > start) / whole

    def intervals(self) -> list[tuple[str, int, int]]:
        """(kind, start_ms, end_ms) of every time without data, in order of start."""
        states = [
            (NO_STATUS if one.state == UNKNOWN else NO_VIDEO, one.since_ms, one.until_ms)
            for one in self.states
            if not one.has_video
        ]
        losses = [(LOST, gap.since_ms, gap.until_ms) for gap in self.gaps]
        return sorted([*states, *losses], key=lambda interval: interval[1])


def find_no_data(
    camera: str, time: TimeRange, run: str | None = None, each_minute: bool = False
) -> NoData:
    """The times without data of one camera. A recording has no times without video, only losses.
    `each_minute`: asked for anew only then, for ranges that end with a minute."""
    ask = query_each_minute if each_minute else query
    gaps = ask(recent_gaps, time.since_ms, time.until_ms, limit=MAX_GAPS, camera=camera, run=run)
    if time.is_recording:
        return NoData((), gaps)
    return NoData(ask(camera_states, camera, time.since_ms, time.until_ms), gaps)


def explain_no_faces(camera: str, found: NoData, time: TimeRange) -> tuple[str, str]:
    """A notice for a camera without faces in that time range: what is the case, what to do."""
    choose = "Choose a longer time range or another camera."
    whole = time.until_ms - time.since_ms
    video_ms = sum(one.until_ms - one.since_ms for one in found.states if one.has_video)
    if time.is_recording or video_ms == whole:
        return f"{camera} saw no face in this time range.", choose
    if video_ms:
        part = f"{format_duration(video_ms)} of the last {format_duration(whole)}"
        return f"{camera} saw no face while it had video: {part}.", choose
    last = found.states[-1]
    if last.state == UNKNOWN:
        return (
            f"No status of {camera} was received in this time range.",
            "Check that `undercam run` is running, and see the Overview page.",
        )
    why = f": {last.reason}" if last.reason else ""
    return (
        f"{camera} had no video in this time range. It is {last.state}{why}.",
        "See the Overview page.",
    )


def _union_ms(times: Iterable[tuple[int, int]]) -> int:
    """Milliseconds covered by the intervals; overlaps count once."""
    total, reached = 0, 0
    for start, end in sorted(times):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total
