"""Media and capture time that later stages can rely on, whatever the time stamps say.

Files: `MediaTime`, `DecodeOrder`. Live cameras: `LiveTime` and `CameraClock`, both built on
`StampFilter`.
"""

from __future__ import annotations

from av.video.frame import VideoFrame

from pipeline.frames import ClockName

MIN_STEP_S = 1e-4
"""Two frames are at least this far apart, seconds: 10 000 frames a second still fit."""
BACK_S = 1.0
"""A time stamp that falls back further than this begins a new time line, seconds."""
AHEAD_S, AHEAD_PERIODS = 60.0, 10
"""So does one that leaps ahead by more than both: seconds, and periods, for time-lapse files."""


class MediaTime:
    """Seconds since the first frame, strictly rising, whatever the stamps do.

    A frame without a stamp comes one `period_s` after the frame before it. A stamp that falls back
    by at most BACK_S is held MIN_STEP_S after the frame before, until the stamps have caught up.
    Where one falls back further, or leaps ahead beyond AHEAD_S (two recordings joined, a counter
    that overflowed), time continues one period after the frame before, from there on as the stamps
    do.
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
        self._last_s = max(next_s, self._last_s + MIN_STEP_S)
        return self._last_s

    def _leaps(self, step_s: float) -> bool:
        return not -BACK_S <= step_s <= max(AHEAD_S, AHEAD_PERIODS * self._period_s)

    def splice(self, gap_s: float) -> None:
        """The next frame begins a new time line, `gap_s` seconds after the frame before it."""
        self._offset_s = None
        self._last_s += max(gap_s - self._period_s, 0.0)


class DecodeOrder:
    """Presentation times for a format that stores none: the n-th frame shown gets the time of the
    n-th frame decoded."""

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
            # Frames that are flushed from the decoder have no decoding time.
            self._last_s += self._step_s
        return self._last_s


EARLY_S = 0.3
"""How much earlier than the earliest frames so far a frame may arrive, relative to its stamp. None
arrives before it is captured, but encoders do not stamp evenly."""
LATE_S = 5.0
"""Stamps that gain or lose so much against the time of arrival are no time: some cameras repeat one
stamp for ever. A frame that a network delays for longer is lost (`source.read_timeout_s`)."""
PROBATION_S = 10.0
"""How long a new sequence of stamps must have the majority before it replaces the current one."""
PROBATION_LATE_S = 0.5
"""LATE_S for a sequence on probation: 5 % slower than real time is too slow."""
MEMORY = 1000
"""Frames over which the drift between two clocks of slightly different rates is averaged out."""
KEPT_STEP = 0.9
"""Decay, per frame, of the longest usual distance between two stamps."""
MAX_STEP_S = 1.0


class _StampSequence:
    """Stamps that each continue the one before as time does."""

    def __init__(self, stamp_s: float, arrived_s: float, late_s: float) -> None:
        self.late_s = late_s
        self._stamp_s = stamp_s
        # How far the stamps are ahead of the time of arrival: the last, the mean, the maximum.
        self._last_s = self._mean_s = self._most_s = stamp_s - arrived_s
        self._step_s: float | None = None

    def continues(self, stamp_s: float, arrived_s: float, waited_s: float) -> bool:
        """Whether a stamp continues the sequence, which then includes it; `waited_s`: how long
        nothing had arrived before it."""
        ahead_s = stamp_s - arrived_s
        slack_s = LATE_S if self._step_s is None else EARLY_S + self._step_s
        # A frame is delayed more than the one before it only where the network stalled meanwhile.
        if (
            ahead_s < self._last_s - waited_s - slack_s
            or ahead_s > self._most_s + slack_s
            or abs(ahead_s - self._mean_s) > self.late_s
        ):
            return False
        step_s = min(max(stamp_s - self._stamp_s, 0.0), MAX_STEP_S)
        self._step_s = step_s + (0 if self._step_s is None else (self._step_s - step_s) * KEPT_STEP)
        self._mean_s += (ahead_s - self._mean_s) / MEMORY
        self._most_s += max(ahead_s - self._most_s, (ahead_s - self._most_s) / MEMORY)
        self._stamp_s, self._last_s = stamp_s, ahead_s
        return True


class StampFilter:
    """Separates stamps that advance as time does from outliers, single ones or bursts.

    Stamps that stay off by the same amount, as after a clock was set, become the current sequence
    once they had the majority for PROBATION_S; `changes` counts how often.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._current: _StampSequence | None = None
        self._other: _StampSequence | None = None
        self._votes = 0
        self._since_s = self._arrived_s = 0.0

    def accepts(self, stamp_s: float, arrived_s: float) -> bool:
        """Whether the next frame's stamp, in any origin, can be used; `arrived_s` is the monotonic
        time now."""
        waited_s, self._arrived_s = arrived_s - self._arrived_s, arrived_s
        if self._current is None:
            self._current = _StampSequence(stamp_s, arrived_s, LATE_S)
            return True
        if self._current.continues(stamp_s, arrived_s, waited_s):
            self._votes -= 1
            return True
        # The majority among the outliers since, by Boyer and Moore: one candidate, one counter.
        if self._other is None or self._votes <= 0:
            self._other = _StampSequence(stamp_s, arrived_s, PROBATION_LATE_S)
            self._votes, self._since_s = 1, arrived_s
        elif not self._other.continues(stamp_s, arrived_s, waited_s):
            self._votes -= 1
        else:
            self._votes += 1
            if arrived_s - self._since_s >= PROBATION_S:
                self._other.late_s = LATE_S
                self._current, self._other = self._other, None
                self.changes += 1
                return True
        return False


PERIOD_S = 0.04
"""Assumed between two frames where the later one has no stamp, seconds."""


class LiveTime:
    """Seconds since the first frame, strictly rising over all connections.

    It follows a connection's stamps, and the time of arrival where StampFilter refuses a stamp.
    From one connection to the next, and from one sequence of stamps to another, it advances by the
    time that passed between the arrivals.

    `is_stamp_used`: whether the last stamp was used.
    """

    def __init__(self) -> None:
        self._last_s = -PERIOD_S
        self._arrived_s: float | None = None
        self.start_connection()

    def start_connection(self) -> None:
        """The next frame comes over a new connection, whose stamps have a new origin."""
        self._is_new = self.is_stamp_used = True
        self._stamp_filter = StampFilter()
        self._changes = 0
        self._offset_s: float | None = None

    def of(self, stamp_s: float | None, arrived_s: float) -> float:
        """Media time of the next frame: its stamp in any origin, and the monotonic time now."""
        passed_s = 0.0 if self._arrived_s is None else arrived_s - self._arrived_s
        next_s = self._last_s + (max(passed_s, PERIOD_S) if self._is_new else PERIOD_S)
        self._is_new, self._arrived_s = False, arrived_s
        if stamp_s is not None:
            self.is_stamp_used = self._stamp_filter.accepts(stamp_s, arrived_s)
            if not self.is_stamp_used:
                next_s = self._last_s + passed_s
            elif self._changes != self._stamp_filter.changes:
                self._offset_s, self._changes = None, self._stamp_filter.changes
                next_s = self._last_s + passed_s
            if self.is_stamp_used:
                if self._offset_s is None:
                    self._offset_s = next_s - stamp_s
                next_s = stamp_s + self._offset_s
        self._last_s = max(next_s, self._last_s + MIN_STEP_S)
        return self._last_s


BEHIND_MS, AHEAD_MS = 5_000, 2_000
"""A camera's clock that is further behind ours, or further ahead, is wrong and not used: no useful
frame takes longer to arrive, or arrives before it is captured."""
HOLD_S = PROBATION_S
"""How long the camera's last plausible time is extrapolated."""


class CameraClock:
    """Capture time of frames, UTC milliseconds, never falling, and the clock that it comes from.

    The camera's RTCP reports tell it (clock "rtcp"). An outlier, as of a wrong stamp or a wrong
    report, is replaced by the last plausible time plus what passed since. Where the camera tells
    nothing plausible, it is the time of arrival (clock "arrival").
    """

    def __init__(self) -> None:
        self._captured_ms = 0
        self.start_connection()

    def start_connection(self) -> None:
        """Forget what the camera told over the connection before."""
        self._stamp_filter = StampFilter()
        self._good_ms: float | None = None
        self._good_s = 0.0

    def estimate_capture(
        self, camera_ms: float | None, received_ms: int, arrived_s: float
    ) -> tuple[int, ClockName]:
        """Capture time of the next frame from the camera's own time (None where unknown) and the
        time of arrival, UTC milliseconds and monotonic seconds."""
        reported_ms = self._camera_time(camera_ms, arrived_s)
        captured_ms = received_ms
        clock: ClockName = "arrival"
        if reported_ms is not None and -BEHIND_MS <= reported_ms - received_ms <= AHEAD_MS:
            captured_ms, clock = round(reported_ms), "rtcp"
        # A switch from our clock to the camera's must not make a frame older than the one before.
        # A larger step back than that means that our own clock was set back.
        if self._captured_ms - captured_ms <= BEHIND_MS + AHEAD_MS:
            captured_ms = max(captured_ms, self._captured_ms)
        self._captured_ms = captured_ms
        return captured_ms, clock

    def _camera_time(self, camera_ms: float | None, arrived_s: float) -> float | None:
        if camera_ms is not None and self._stamp_filter.accepts(camera_ms / 1000, arrived_s):
            self._good_ms, self._good_s = camera_ms, arrived_s
        passed_s = arrived_s - self._good_s
        if self._good_ms is None or passed_s > HOLD_S:
            return None
        return self._good_ms + passed_s * 1000
