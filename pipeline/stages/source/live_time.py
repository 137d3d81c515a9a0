"""Media time of a live camera: by its own stamps as long as they can be true."""

from __future__ import annotations

from pipeline.stages.source.media_time import MediaTime

PERIOD_S = 0.04
"""What passes at a picture without a stamp, seconds."""
DRIFT_S = 5.0
"""Stamps that gain or lose so much on the time of arrival tell no time: some cameras send always
the same, or set their clock. What waits in a network for longer is lost (`source.read_s`)."""
MEMORY = 1000
"""Pictures in which two clocks that run at slightly different rates are reconciled."""


class LiveTime:
    """Seconds since the first picture, strictly rising over all connections.

    A connection's stamps are taken as MediaTime takes them, until they drift from the time of
    arrival, which then takes their place. From one connection to the next goes on what passed.
    `believed`: whether the camera's stamps count.
    """

    def __init__(self) -> None:
        self._media_time = MediaTime(PERIOD_S)
        self._arrived_s: float | None = None
        self._ahead_s: float | None = None
        self._is_new = True
        self.believed = True

    def connected(self) -> None:
        """The next picture comes over a new connection, whose stamps count from anywhere."""
        self._is_new = self.believed = True
        self._ahead_s = None

    def of(self, stamp_s: float | None, arrived_s: float) -> float:
        """Media time of the next picture: its stamp in any origin, and the monotonic time now."""
        if self.believed and stamp_s is not None and self._drifts(stamp_s - arrived_s):
            self._is_new, self.believed = True, False
        if self._is_new and self._arrived_s is not None:
            self._media_time.splice(arrived_s - self._arrived_s)
        self._is_new, self._arrived_s = False, arrived_s
        return self._media_time.of(stamp_s if self.believed else arrived_s)

    def _drifts(self, ahead_s: float) -> bool:
        if self._ahead_s is None:
            self._ahead_s = ahead_s
        self._ahead_s += (ahead_s - self._ahead_s) / MEMORY
        return abs(ahead_s - self._ahead_s) > DRIFT_S
