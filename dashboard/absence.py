"""Why a stretch of time holds no face: nobody was there, or nobody looked, or the rows are lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dashboard.choices import Span
from dashboard.database import ask
from dashboard.times import duration
from pipeline.camera_states import UNKNOWN
from pipeline.store.queries import GapRow, Stretch, camera_states, recent_gaps

NO_VIDEO, NOT_HEARD, LOST = "no video", "nothing heard", "events lost"
KINDS = (NO_VIDEO, NOT_HEARD, LOST)
"""A camera that is offline, refused, stopped or such; one of which nothing was heard; rows that are
known to be missing. A time that is none of these and has no face was an empty room."""
GAPS = 500
"""The most losses that are drawn."""


@dataclass(frozen=True)
class Absence:
    """How a camera stood over a time, and what of it is known to be missing."""

    states: Sequence[Stretch] = ()
    gaps: Sequence[GapRow] = ()

    def part(self, kind: str, since_ms: int, until_ms: int) -> float:
        """The part of [since_ms, until_ms) that is of one of KINDS, in [0, 1].

        A loss takes at least its place: one without a duration still counts as a tenth.
        """
        whole = max(until_ms - since_ms, 1)
        if kind == LOST:
            found = [(max(g.since_ms, since_ms), min(g.until_ms, until_ms - 1)) for g in self.gaps]
            inside = [(start, end) for start, end in found if end >= start]
            return max(0.1, _union(inside) / whole) if inside else 0.0
        times = [
            (max(one.since_ms, since_ms), min(one.until_ms, until_ms))
            for one in self.states
            if not one.has_video and (one.state == UNKNOWN) == (kind == NOT_HEARD)
        ]
        return _union((start, end) for start, end in times if end > start) / whole

    def bands(self) -> list[tuple[str, int, int]]:
        """Kind, start and end of each, in order of time."""
        states = [
            (NOT_HEARD if one.state == UNKNOWN else NO_VIDEO, one.since_ms, one.until_ms)
            for one in self.states
            if not one.has_video
        ]
        losses = [(LOST, gap.since_ms, gap.until_ms) for gap in self.gaps]
        return sorted([*states, *losses], key=lambda band: band[1])


def absence(camera: str, span: Span, run: str | None = None) -> Absence:
    """Of one camera; of a recording only what is missing, since it is there or it is not."""
    since, until = span.since_ms, span.until_ms
    gaps = ask(recent_gaps, since, until, limit=GAPS, camera=camera, run=run)
    if span.recorded:
        return Absence((), gaps)
    return Absence(ask(camera_states, camera, since, until), gaps)


def no_face(camera: str, found: Absence, span: Span) -> tuple[str, str]:
    """What to say of a camera without a face in that time, and what to do about it."""
    whole = span.until_ms - span.since_ms
    video_ms = sum(one.until_ms - one.since_ms for one in found.states if one.has_video)
    if span.recorded or video_ms == whole:
        return f"{camera} saw no face in this time.", "Choose a longer window or another camera."
    if video_ms:
        return (
            f"{camera} saw no face while there was video: {duration(video_ms)} of the last "
            f"{duration(whole)}.",
            "Choose a longer window or another camera.",
        )
    last = found.states[-1]
    if last.state == UNKNOWN:
        return (
            f"Nothing was heard of {camera} in this time.",
            "Look whether `undercam run` is at work, and see Cameras.",
        )
    why = f": {last.reason}" if last.reason else ""
    return f"{camera} gave no video in this time. It is {last.state}{why}.", "See Cameras."


def _union(times: Iterable[tuple[int, int]]) -> int:
    """Milliseconds that lie in any of them."""
    total, reached = 0, 0
    for start, end in sorted(times):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total
