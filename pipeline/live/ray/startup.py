"""How long to wait for what begins: for as long as it lives, nobody wants to stop, and it may."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from pipeline.errors import ServiceError, StopRequested

LOOK_S = 0.2
SAY_S = 15.0
"""So often it is said what is waited for."""


@dataclass(frozen=True)
class Startup:
    """`stop` says whether somebody wants the command to end, `start_s` how long each part may take
    to begin; `say` tells a person what is waited for."""

    stop: Callable[[], bool] = lambda: False
    start_s: float = 600.0
    say: Callable[[str], None] = lambda line: None

    def until(self, has_begun: Callable[[float], bool], what: str) -> None:
        """Wait until `has_begun`, which itself may wait so many seconds as it is told.

        Raises StopRequested; ServiceError when it takes longer than it may.
        """
        began_s = said_s = time.monotonic()
        while not has_begun(LOOK_S):
            now = time.monotonic()
            if self.stop():
                raise StopRequested
            if now - began_s > self.start_s:
                raise ServiceError(
                    f"waited {self.start_s:g} s for {what} to begin",
                    "Ray",
                    "see what takes this machine's cores, or raise cluster.start_timeout_s",
                )
            if now - said_s > SAY_S:
                said_s = now
                self.say(f"waiting for {what} to begin, for {now - began_s:.0f} s so far")
        if self.stop():
            raise StopRequested

    def answer(self, ref: ray.ObjectRef[Any], what: str) -> Any:
        """What an actor answers first; raises what kept it from beginning, and as `until`."""

        def has_answered(within_s: float) -> bool:
            return bool(ray.wait([ref], timeout=within_s)[0])

        self.until(has_answered, what)
        return ray.get(ref, timeout=LOOK_S)
