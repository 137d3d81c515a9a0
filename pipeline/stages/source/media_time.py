"""Media time that later stages can rely on, out of the time stamps that files really have."""

from __future__ import annotations

from av.video.frame import VideoFrame

LEAST_STEP_S = 1e-4
"""Two frames are at least this far apart, seconds; 10 000 pictures in a second still fit."""
BACK_S = 1.0
"""A time stamp that falls back further than this begins a new time line, seconds."""
AHEAD_S, AHEAD_PERIODS = 60.0, 10
"""So does one that leaps ahead by more than both: seconds, and periods, for time-lapse files."""


class MediaTime:
    """Seconds since the first frame, strictly rising, whatever the stamps do.

    A missing stamp counts as one `period_s` after the frame before. A stamp that falls back by at
    most BACK_S is held LEAST_STEP_S after the frame before, until the stamps have caught up. One
    that falls back further, or leaps ahead beyond AHEAD_S (two recordings joined, a counter that
    ran over), goes on one period after the frame before, and so do all that follow it.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._last_s = -period_s
        self._offset_s: float | None = None

    def of(self, stamp_s: float | None) -> float:
        """Media time of the next frame, whose own stamp is `stamp_s` in any origin.

        >>> times = MediaTime(period_s=0.04)
        >>> [times.of(stamp) for stamp in (7.0, 7.5, None, 7.75)]
        [0.0, 0.5, 0.54, 0.75]
        """
        next_s = self._last_s + self._period_s
        if stamp_s is not None:
            if self._offset_s is None or self._leaps(stamp_s + self._offset_s - self._last_s):
                self._offset_s = next_s - stamp_s
            next_s = stamp_s + self._offset_s
        self._last_s = max(next_s, self._last_s + LEAST_STEP_S)
        return self._last_s

    def _leaps(self, step_s: float) -> bool:
        return not -BACK_S <= step_s <= max(AHEAD_S, AHEAD_PERIODS * self._period_s)

    def splice(self, gap_s: float) -> None:
        """The next frame begins a new time line, `gap_s` seconds after the frame before it."""
        self._offset_s = None
        self._last_s += max(gap_s - self._period_s, 0.0)


class DecodeOrder:
    """Stamps of frames out of a format that stores none: the n-th that is shown has the place of
    the n-th that is decoded."""

    def __init__(self, period_s: float) -> None:
        self._step_s = period_s
        self._last_s: float | None = None

    def of(self, frame: VideoFrame) -> float | None:
        """The stamp of the next frame, seconds; None where none was ever known."""
        if frame.dts is not None and frame.time_base is not None:
            stamp_s = float(frame.dts * frame.time_base)
            if self._last_s is not None and stamp_s > self._last_s:
                self._step_s = stamp_s - self._last_s
            self._last_s = stamp_s
        elif self._last_s is not None:
            # The last frames come when nothing is decoded any more.
            self._last_s += self._step_s
        return self._last_s
