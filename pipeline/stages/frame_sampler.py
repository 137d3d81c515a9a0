"""Which frames of a camera are analysed."""

from __future__ import annotations

SLACK_S = 1e-3


class FrameSampler:
    """Picks `analyse_fps` frames in a second of media time; 0 picks all.

    After a pause the rate is not made up for. `skipped` counts the frames that were not picked.
    """

    def __init__(self, analyse_fps: float) -> None:
        self._period_s = 1 / analyse_fps if analyse_fps else 0.0
        self._due_s = 0.0
        self.skipped = 0

    def is_due(self, pts_s: float) -> bool:
        """Whether the frame at `pts_s`, seconds, is analysed; ask once for each, in order."""
        if not self._period_s:
            return True
        if pts_s < self._due_s - SLACK_S:
            self.skipped += 1
            return False
        on_time = pts_s < self._due_s + self._period_s
        self._due_s = (self._due_s if on_time else pts_s) + self._period_s
        return True
