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
from pipeline.live.stage_runner import FaceClassifier
from pipeline.live.state_publishing import open_state_publisher
from pipeline.metrics import CameraMetrics
from pipeline.settings import CameraSettings, DetectorSettings
from pipeline.stages.detect import Detect, open_detect

ConnectClassifier = Callable[[Lease, CameraMetrics], FaceClassifier]
"""Connects a camera to the classifier pool."""


class CameraWorker:
    """Reads the cameras that it holds leases for, and no others.

    Raises what `open_detect` raises for a detector that cannot be used, and ConfigError for an MQTT
    broker that cannot be.
    """

    def __init__(
        self,
        settings: Settings,
        connect_classifier: ConnectClassifier,
        folders: Sequence[Path] = (),
        *,
        detect: Detect | None = None,
        clock: Clock = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
        machine: str = "",
        check: Callable[[CameraSettings], None] = lambda settings: None,
    ) -> None:
        """`machine`: as in Heartbeat; `check` raises UndercamError for a camera that cannot be read
        here."""
        self.incarnation = uuid4().hex
        self.metrics = CameraMetrics()
        detect = detect or open_worker_detector(settings.detector, folders)
        # The first detection takes longest; no camera is to shed a frame for it.
        detect(np.zeros((96, 128, 3), np.uint8))
        self._states = open_state_publisher(settings.mqtt, self.metrics)
        self._parts = Parts(settings, detect, self.metrics, self._states, clock, monotonic, check)
        self._connect_classifier, self._machine = connect_classifier, machine
        self._runs: dict[Lease, CameraRun] = {}

    def heartbeat(self, incarnation: str, leases: Sequence[Lease]) -> Heartbeat:
        """Hold these leases and no others: start what is new, stop what is missing, renew the rest.

        Reports every lease that is held, also of runs that are still stopping, and each once more
        when its run has ended. A lease whose run has ended is held, and not started again, for as
        long as it is renewed.
        """
        # A process that died and came back may be sent the leases of its earlier life. Their runs
        # died with it, and the supervisor does not know yet: no run may start twice.
        is_ours = incarnation == self.incarnation
        if is_ours:
            self._apply_leases(leases)
        # Taken before the reports, so that no run is forgotten whose end was not reported.
        ended = {lease for lease, run in self._runs.items() if not run.is_alive}
        reports = [run.report() for run in self._runs.values()]
        if is_ours:
            for lease in ended - set(leases):
                del self._runs[lease]
        return Heartbeat(self.incarnation, reports, self._machine)

    def _apply_leases(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if lease in self._runs:
                self._runs[lease].renew_lease()
            # A camera under a new lease waits until its old run has released it: two runs of one
            # camera would open the same stream, and interleave their events.
            elif not any(run.lease.camera == lease.camera for run in self._live_runs()):
                classifier = self._connect_classifier(lease, self.metrics)
                run = self._runs[lease] = CameraRun(lease, self._parts, classifier)
                run.start()
        for lease in self._runs.keys() - set(leases):
            self._runs[lease].stop()

    def close(self, timeout_s: float | None = None) -> list[Report]:
        """Stop all runs and wait until they have ended, for at most `timeout_s`; returns the last
        report of each."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        for run in self._runs.values():
            run.stop()
        for run in self._runs.values():
            run.join(until_s and max(until_s - time.monotonic(), 0.0))
        reports = [run.report() for run in self._runs.values()]
        self._runs.clear()
        self._states.close()
        return reports

    def _live_runs(self) -> list[CameraRun]:
        return [run for run in self._runs.values() if run.is_alive]


def open_worker_detector(settings: DetectorSettings, folders: Sequence[Path] = ()) -> Detect:
    """The detector of a camera process, on one thread unless the settings give another number: its
    cameras run in parallel already."""
    if not settings.threads:
        settings = settings.model_copy(update={"threads": 1})
    return open_detect(settings, folders)
