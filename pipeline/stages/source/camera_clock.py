"""When a live camera's pictures were taken: by its own clock where that can be true."""

from __future__ import annotations

from pipeline.frames import ClockName
from pipeline.stages.source.time_line import PROBATION_S, TimeLine

BEHIND_MS, AHEAD_MS = 5_000, 2_000
"""A camera's clock that is further behind ours, or further ahead, is wrong, and not believed: no
picture that is still of use takes longer to come, or comes before it is taken."""
HOLD_S = PROBATION_S
"""How long the camera's last good word is gone on from."""


class CameraClock:
    """UTC milliseconds of capture, never falling, and who told them.

    The camera tells by its RTCP reports (clock "rtcp"). A word that is off from those before, as of
    a wrong stamp or a wrong report, is passed over: what passed since the last good one counts.
    Where the camera tells nothing that can be true, it is the time of arrival (clock "arrival").
    """

    def __init__(self) -> None:
        self._captured_ms = 0
        self.connected()

    def connected(self) -> None:
        """What the camera tells from now on goes on from nothing."""
        self._time_line = TimeLine()
        self._good_ms: float | None = None
        self._good_s = 0.0

    def captured(
        self, camera_ms: float | None, received_ms: int, arrived_s: float
    ) -> tuple[int, ClockName]:
        """Of the next picture: the camera's word, None where there is none, and the time now, UTC
        by our clock and monotonic."""
        word_ms = self._word(camera_ms, arrived_s)
        captured_ms = received_ms
        clock: ClockName = "arrival"
        if word_ms is not None and -BEHIND_MS <= word_ms - received_ms <= AHEAD_MS:
            captured_ms, clock = round(word_ms), "rtcp"
        # Where the word passes from our clock to the camera's, no picture is older than the last.
        # One that seems older by more than that tells of our own clock, which was set back.
        if self._captured_ms - captured_ms <= BEHIND_MS + AHEAD_MS:
            captured_ms = max(captured_ms, self._captured_ms)
        self._captured_ms = captured_ms
        return captured_ms, clock

    def _word(self, camera_ms: float | None, arrived_s: float) -> float | None:
        if camera_ms is not None and self._time_line.goes_on(camera_ms / 1000, arrived_s):
            self._good_ms, self._good_s = camera_ms, arrived_s
        passed_s = arrived_s - self._good_s
        if self._good_ms is None or passed_s > HOLD_S:
            return None
        return self._good_ms + passed_s * 1000
