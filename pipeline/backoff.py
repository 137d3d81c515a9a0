"""Exponential back-off with jitter: when to try again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable


class BackOff:
    """After the n-th failure in a row the wait is least_s · 2ⁿ⁻¹, at most most_s, times a random
    factor in [0.5, 1): many cameras that failed together do not all retry at one moment."""

    def __init__(
        self,
        least_s: float,
        most_s: float,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._again_s = 0.0

    def record_failure(self) -> None:
        """Count a failure: the next wait is longer."""
        wait_s = min(self._least_s * 2.0 ** min(self._failures, 60), self._most_s)
        self._failures += 1
        self._again_s = self._clock() + wait_s * (0.5 + self._chance() / 2)

    def record_success(self) -> None:
        """Count a success: the next failure is the first again."""
        self._failures = 0

    @property
    def waits(self) -> bool:
        """Whether it is too early to try again."""
        return self.left_s > 0

    @property
    def left_s(self) -> float:
        """Seconds until it is time to try again; 0 when it is."""
        return max(self._again_s - self._clock(), 0.0) if self._failures else 0.0
