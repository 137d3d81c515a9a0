"""Whether the stamps of a live camera go on as time does, whatever some of them say."""

from __future__ import annotations

EARLY_S = 0.3
"""A picture comes at most so much earlier than its stamp says, by the earliest ones so far; nothing
comes before it is taken, but encoders do not stamp evenly."""
LATE_S = 5.0
"""Stamps that gain or lose so much on the time of arrival tell no time: some cameras send always
the same. What waits in a network for longer is lost (`source.read_timeout_s`)."""
PROBATION_S = 10.0
"""How long other stamps than those in force must have the majority until they take their place."""
PROBATION_LATE_S = 0.5
"""LATE_S of stamps that are on probation: 5 % slower than time is too slow."""
MEMORY = 1000
"""Pictures in which two clocks that run at slightly different rates are reconciled."""
KEPT_STEP = 0.9
"""What is kept of the usual distance between two pictures when the next is seen."""
LONGEST_STEP_S = 1.0


class _Line:
    """Stamps that go on, one from another."""

    def __init__(self, stamp_s: float, arrived_s: float, late_s: float) -> None:
        self.late_s = late_s
        self._stamp_s = stamp_s
        # How far the stamps are ahead of the time of arrival: the last, the mean, the most.
        self._last_s = self._mean_s = self._most_s = stamp_s - arrived_s
        self._step_s: float | None = None

    def takes(self, stamp_s: float, arrived_s: float, waited_s: float) -> bool:
        """Whether this stamp goes on, and then goes on with it; `waited_s`: for how long nothing
        had come before it."""
        ahead_s = stamp_s - arrived_s
        slack_s = LATE_S if self._step_s is None else EARLY_S + self._step_s
        # Only a network that stood still makes a picture later than the one before it.
        if (
            ahead_s < self._last_s - waited_s - slack_s
            or ahead_s > self._most_s + slack_s
            or abs(ahead_s - self._mean_s) > self.late_s
        ):
            return False
        step_s = min(max(stamp_s - self._stamp_s, 0.0), LONGEST_STEP_S)
        self._step_s = step_s + (0 if self._step_s is None else (self._step_s - step_s) * KEPT_STEP)
        self._mean_s += (ahead_s - self._mean_s) / MEMORY
        self._most_s += max(ahead_s - self._most_s, (ahead_s - self._most_s) / MEMORY)
        self._stamp_s, self._last_s = stamp_s, ahead_s
        return True


class TimeLine:
    """Tells stamps that go on from single ones, or bursts, that are off in either direction.

    Stamps that are off and stay so by the same amount, as after a clock was set, are in force once
    they had the majority for PROBATION_S; `line` counts these changes.
    """

    def __init__(self) -> None:
        self.line = 0
        self._line: _Line | None = None
        self._other: _Line | None = None
        self._votes = 0
        self._since_s = self._arrived_s = 0.0

    def goes_on(self, stamp_s: float, arrived_s: float) -> bool:
        """Whether the next picture's stamp, in any origin, is one to go by; `arrived_s` is the
        monotonic time now."""
        waited_s, self._arrived_s = arrived_s - self._arrived_s, arrived_s
        if self._line is None:
            self._line = _Line(stamp_s, arrived_s, LATE_S)
            return True
        if self._line.takes(stamp_s, arrived_s, waited_s):
            self._votes -= 1
            return True
        # The majority of all that were off since, by Boyer and Moore: one candidate, one counter.
        if self._other is None or self._votes <= 0:
            self._other = _Line(stamp_s, arrived_s, PROBATION_LATE_S)
            self._votes, self._since_s = 1, arrived_s
        elif not self._other.takes(stamp_s, arrived_s, waited_s):
            self._votes -= 1
        else:
            self._votes += 1
            if arrived_s - self._since_s >= PROBATION_S:
                self._other.late_s = LATE_S
                self._line, self._other = self._other, None
                self.line += 1
                return True
        return False
