"""Keeps an eye on a camera: which frames are due, its pace and lag, and the records of them."""

from __future__ import annotations

from pipeline.clock import Clock, wall_clock
from pipeline.frames import FrameHeader
from pipeline.records import CameraStatus

STATUS_S = 2.0
"""Media seconds between two statuses of a camera that is well."""
LAGGING_MS = 2_000
"""A live camera whose pictures are analysed later than this is said to lag."""
SLACK_S = 1e-3


class Watch:
    """The state of one camera run, as `camera_status` records."""

    def __init__(self, camera: str, run: str, clock: Clock = wall_clock) -> None:
        self._camera, self._run, self._clock = camera, run, clock
        self._seq = 0
        self._state = ""
        self._since_ms = 0
        self._due_s = 0.0
        self._analysed = 0
        self._told_s = 0.0
        self._told_analysed = 0
        self._last: FrameHeader | None = None

    def is_due(self, header: FrameHeader, analyse_fps: float) -> bool:
        """Whether this frame is analysed, at `analyse_fps` a second of media time; 0 means all."""
        if analyse_fps and header.pts_s < self._due_s - SLACK_S:
            return False
        self._analysed += 1
        if analyse_fps:
            period_s = 1 / analyse_fps
            on_time = header.pts_s < self._due_s + period_s
            self._due_s = (self._due_s if on_time else header.pts_s) + period_s
        return True

    def statuses(self, header: FrameHeader) -> list[CameraStatus]:
        """A status at the first frame, at every change, and every two seconds of media time."""
        first, self._last = self._last is None, header
        lag_ms = self._lag_ms(header)
        state = "lagging" if lag_ms > LAGGING_MS else "online"
        elapsed_s = header.pts_s - self._told_s
        if not first and state == self._state and elapsed_s < STATUS_S:
            return []
        fps = (self._analysed - self._told_analysed) / elapsed_s if elapsed_s > 0 else 0.0
        self._told_s, self._told_analysed = header.pts_s, self._analysed
        return [self._status(state, header, "", fps, lag_ms)]

    def end(self, reason: str) -> list[CameraStatus]:
        """The last status of the run; none when there never was a frame."""
        if self._last is None:
            return []
        return [self._status("offline", self._last, reason, 0.0, 0)]

    def _lag_ms(self, header: FrameHeader) -> int:
        return 0 if header.clock == "media" else max(self._clock() - header.captured_ms, 0)

    def _status(
        self, state: str, header: FrameHeader, reason: str, fps: float, lag_ms: int
    ) -> CameraStatus:
        if state != self._state:
            self._state, self._since_ms = state, header.captured_ms
        record = CameraStatus(
            id=CameraStatus.make_id(self._camera, self._run, self._seq),
            camera=self._camera,
            run=self._run,
            seq=self._seq,
            state=state,
            since_ms=self._since_ms,
            reason=reason,
            fps=round(fps, 2),
            lag_ms=lag_ms,
            shed={},
        )
        self._seq += 1
        return record
