"""Media time of a live camera: by its own stamps as long as they can be true."""

from __future__ import annotations

from pipeline.stages.source.media_time import LEAST_STEP_S
from pipeline.stages.source.time_line import TimeLine

PERIOD_S = 0.04
"""What passes at a picture without a stamp, seconds."""


class LiveTime:
    """Seconds since the first picture, strictly rising over all connections.

    Goes by a connection's stamps, and by the time of arrival at those that do not go on from the
    ones before (see TimeLine). From one connection to the next, and from one line of stamps to
    another, goes on what passed.

    `believed`: whether the last stamp counted.
    """

    def __init__(self) -> None:
        self._last_s = -PERIOD_S
        self._arrived_s: float | None = None
        self.connected()

    def connected(self) -> None:
        """The next picture comes over a new connection, whose stamps count from anywhere."""
        self._is_new = self.believed = True
        self._time_line = TimeLine()
        self._line = 0
        self._offset_s: float | None = None

    def of(self, stamp_s: float | None, arrived_s: float) -> float:
        """Media time of the next picture: its stamp in any origin, and the monotonic time now."""
        passed_s = 0.0 if self._arrived_s is None else arrived_s - self._arrived_s
        next_s = self._last_s + (max(passed_s, PERIOD_S) if self._is_new else PERIOD_S)
        self._is_new, self._arrived_s = False, arrived_s
        if stamp_s is not None:
            self.believed = self._time_line.goes_on(stamp_s, arrived_s)
            if not self.believed:
                next_s = self._last_s + passed_s
            elif self._line != self._time_line.line:
                self._offset_s, self._line = None, self._time_line.line
                next_s = self._last_s + passed_s
            if self.believed:
                if self._offset_s is None:
                    self._offset_s = next_s - stamp_s
                next_s = stamp_s + self._offset_s
        self._last_s = max(next_s, self._last_s + LEAST_STEP_S)
        return self._last_s
