"""Keeps an eye on a camera: its state, pace and lag, and the records of them."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.camera_states import (
    CONNECTING,
    LAGGING,
    OFFLINE,
    ONLINE,
    QUARANTINED,
    CameraState,
    to_record,
)
from pipeline.clock import Clock, wall_clock
from pipeline.fields import shorten
from pipeline.frames import ConnectionState, FrameHeader
from pipeline.records import CameraStatus

STATUS_S = 2.0
"""Media seconds between two statuses of a camera that is well."""
SILENT_MS = 10_000
"""Milliseconds between two statuses of a camera that sends nothing."""
LAGGING_MS = 2_000
"""A live camera whose frames are analysed later than this is said to lag."""


class StatusMonitor:
    """The state of one camera run, as `camera_status` records.

    `before` is how the camera stood when the run began: a state that goes on keeps its start.
    Statuses are numbered from `first_seq` on. Those of a recording tell its own time, as all its
    records do; with `wall_time` they tell the time at which it is read.
    """

    def __init__(
        self,
        camera: str,
        run: str,
        clock: Clock = wall_clock,
        *,
        before: CameraState | None = None,
        first_seq: int = 0,
        wall_time: bool = False,
    ) -> None:
        self._camera, self._run, self._clock = camera, run, clock
        self._before, self._wall_time = before, wall_time
        self._first_seq = self._seq = first_seq
        self._state = ""
        self._since_ms = 0
        self._reason = ""
        self._analysed = 0
        self._reported_s = 0.0
        self._reported_analysed = 0
        self._reported_ms = 0
        self._last_ms: int | None = None
        self._shed: Mapping[str, int] = {}

    def note_frame(
        self, header: FrameHeader, analysed: bool = True, shed: Mapping[str, int] | None = None
    ) -> list[CameraStatus]:
        """A status at the first frame, at every change, and every two seconds of media time.

        `shed` counts the frames of the run that were shed, by cause.
        """
        self._analysed += analysed
        self._shed = shed or {}
        is_recorded = header.clock == "media"
        now_ms = self._clock() if is_recorded and self._wall_time else header.captured_ms
        self._last_ms = now_ms
        lag_ms = self._lag_ms(header)
        state = LAGGING if lag_ms > LAGGING_MS else ONLINE
        elapsed_s = header.pts_s - self._reported_s
        if state == self._state and elapsed_s < STATUS_S:
            return []
        fps = (self._analysed - self._reported_analysed) / elapsed_s if elapsed_s > 0 else 0.0
        self._reported_s, self._reported_analysed = header.pts_s, self._analysed
        return [self._status(state, now_ms, "", fps, lag_ms)]

    def report_silence(
        self, link: ConnectionState, shed: Mapping[str, int] | None = None
    ) -> list[CameraStatus]:
        """No frame came for a while: a status when the link changed, then every ten seconds; none
        while it is online. A camera in quarantine stays there while it connects."""
        if link.state == ONLINE:
            return []
        self._shed = shed or {}
        reported = CameraState(link.state, link.since_ms, link.reason)
        if link.state == CONNECTING and self._state == QUARANTINED:
            reported = CameraState(self._state, self._since_ms, self._reason)
        news = (reported.state, reported.reason) != (self._state, self._reason)
        if not news and self._clock() - self._reported_ms < SILENT_MS:
            return []
        return [self.report(reported.state, reported.reason, reported.since_ms)]

    def report(self, state: str, reason: str, since_ms: int | None = None) -> CameraStatus:
        """A status by someone who knows better; `since_ms` is now where it is not given."""
        since_ms = self._clock() if since_ms is None else since_ms
        return self._status(state, since_ms, reason, 0.0, 0)

    def end(self, reason: str, state: str = OFFLINE) -> list[CameraStatus]:
        """The last status of the run; none when nothing was ever told of it."""
        if self._seq == self._first_seq:
            return []
        since_ms = self._clock() if self._last_ms is None else self._last_ms
        return [self._status(state, since_ms, reason, 0.0, 0)]

    def _lag_ms(self, header: FrameHeader) -> int:
        return 0 if header.clock == "media" else max(self._clock() - header.captured_ms, 0)

    def _status(
        self, state: str, since_ms: int, reason: str, fps: float, lag_ms: int
    ) -> CameraStatus:
        if state != self._state:
            goes_on = self._before and not self._state and self._before.state == state
            self._since_ms = self._before.since_ms if self._before and goes_on else since_ms
        self._state, self._reason, self._reported_ms = state, reason, self._clock()
        recorded, reported = to_record(state, reason)
        record = CameraStatus(
            id=CameraStatus.make_id(self._camera, self._run, self._seq),
            camera=self._camera,
            run=self._run,
            seq=self._seq,
            state=recorded,
            since_ms=self._since_ms,
            reason=shorten(reported),
            fps=round(fps, 2),
            lag_ms=lag_ms,
            shed=dict(self._shed),
        )
        self._seq += 1
        return record
