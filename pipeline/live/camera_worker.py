"""A camera process: the cameras it holds leases for, each in a thread, and what they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np

from pipeline.clock import Clock, wall_clock
from pipeline.config import Settings
from pipeline.live.camera_run import CameraRun, Parts
from pipeline.live.leases import Heartbeat, Lease, Report
from pipeline.live.stage_runner import ClassifierClient
from pipeline.metrics import CameraMetrics
from pipeline.settings import DetectorSettings
from pipeline.stages.detect import Detect, open_detect

AskFor = Callable[[Lease, CameraMetrics], ClassifierClient]
"""Opens a camera's way to the classifier."""


class CameraWorker:
    """Reads the cameras that it is told to, and no others.

    Raises what `open_detect` raises for a detector that cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        ask_for: AskFor,
        folders: Sequence[Path] = (),
        *,
        detect: Detect | None = None,
        clock: Clock = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.birth = uuid4().hex
        self.metrics = CameraMetrics()
        detect = detect or open_detect(_one_thread(settings.detector), folders)
        # The first look takes longest; no camera is to shed a picture for it.
        detect(np.zeros((96, 128, 3), np.uint8))
        self._parts = Parts(settings, detect, self.metrics, clock, monotonic)
        self._ask_for = ask_for
        self._runs: dict[Lease, CameraRun] = {}

    def renew(self, birth: str, leases: Sequence[Lease]) -> Heartbeat:
        """These leases and no others: begin what is new, stop what is missing, renew the rest.

        Reports every lease that is held, those under way to their end too, and once more when they
        are there. A lease whose run has ended is held, and not begun again, for as long as it is
        renewed. Leases that were meant for this process in an earlier life, as `birth` tells,
        change nothing: a run that died with it must not begin twice.
        """
        if birth == self.birth:
            self._obey(leases)
        ended = {lease for lease, run in self._runs.items() if not run.is_alive}
        reports = [run.report() for run in self._runs.values()]
        if birth == self.birth:
            for lease in ended - set(leases):
                del self._runs[lease]
        return Heartbeat(self.birth, reports)

    def _obey(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if lease in self._runs:
                self._runs[lease].renew()
            elif not any(run.lease.camera == lease.camera for run in self._held()):
                ask = self._ask_for(lease, self.metrics)
                self._runs[lease] = CameraRun(lease, self._parts, ask)
        for lease in self._runs.keys() - set(leases):
            self._runs[lease].stop()

    def close(self) -> list[Report]:
        """Stop all runs and wait until they have let go; returns how each has ended."""
        for run in self._runs.values():
            run.stop()
        for run in self._runs.values():
            run.join()
        reports = [run.report() for run in self._runs.values()]
        self._runs.clear()
        return reports

    def _held(self) -> list[CameraRun]:
        return [run for run in self._runs.values() if run.is_alive]


def _one_thread(settings: DetectorSettings) -> DetectorSettings:
    """Cameras share the cores already, each on a thread."""
    return settings if settings.threads else settings.model_copy(update={"threads": 1})
