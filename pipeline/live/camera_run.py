"""One camera under one lease, in a thread of its own: from its source to its outbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from threading import Event as Flag
from threading import Thread

from pipeline.bus.outbox import EventsNotWritten, Outbox
from pipeline.camera_config import CameraConfig
from pipeline.camera_states import (
    CONNECTING,
    ENDED,
    FAILED,
    FINAL_STATES,
    QUARANTINED,
    RUN_STATES,
    STOPPED,
    VIDEO_STATES,
    from_record,
    state_after_error,
)
from pipeline.clock import Clock, wall_clock
from pipeline.config import Settings
from pipeline.errors import UndercamError
from pipeline.frames import Frame
from pipeline.live.leases import Lease, Report
from pipeline.live.stage_runner import FaceClassifier, run_stages
from pipeline.live.state_publishing import StatePublisher
from pipeline.metrics import CameraMetrics, Tally
from pipeline.records import CameraStatus, Event, FaceObserved
from pipeline.redact import redact
from pipeline.settings import CameraSettings
from pipeline.stages.detect import Detect
from pipeline.stages.source.base import Source
from pipeline.stages.source.opening import open_source
from pipeline.stages.status import StatusMonitor

ROOM_S = 0.1
"""Seconds between two looks at a full outbox, by a file, of which no event may be shed."""


@dataclass(frozen=True)
class Parts:
    """What the cameras of one process share."""

    settings: Settings
    detect: Detect
    metrics: CameraMetrics
    states: StatePublisher
    clock: Clock = wall_clock
    monotonic: Callable[[], float] = time.monotonic
    check: Callable[[CameraSettings], None] = lambda settings: None
    """Raises UndercamError for a camera that this machine cannot read."""


class CameraRun:
    """Reads a camera from `start` until it ends, is stopped, or its lease has not been renewed for
    `workers.lease_s`."""

    def __init__(self, lease: Lease, parts: Parts, classifier: FaceClassifier) -> None:
        self.lease = lease
        self._parts, self._classifier = parts, classifier
        self._config = CameraConfig.of(lease.settings, parts.settings)
        self._stop = Flag()
        self._is_closed = self._has_status = False
        self._state, self._since_ms = "", 0
        self._set_state(CONNECTING, "")
        self._trouble, self._waiting, self._analysed, self._appended = "", 0, 0, 0
        self._close_error = ""
        self._tally = Tally()
        self.renew_lease()
        self._thread = Thread(target=self._main, name=f"camera {lease.camera}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def renew_lease(self) -> None:
        """The lease holds for another `workers.lease_s`."""
        self._until_s = self._parts.monotonic() + self._parts.settings.workers.lease_s

    def stop(self) -> None:
        """End the run soon; `is_alive` is false when it has ended."""
        self._stop.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the run has ended."""
        self._thread.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether the run still holds its camera and its outbox."""
        return self._thread.is_alive()

    def report(self) -> Report:
        """The state of the lease now."""
        return Report(
            self.lease,
            self._state,
            self._reason,
            self._trouble,
            self._waiting,
            self._since_ms,
            self._is_closed,
            self._close_error,
            self._appended,
        )

    def _main(self) -> None:
        try:
            self._play()
        except EventsNotWritten as error:
            self._close_error = str(error)
            self._set_state(FAILED, str(error))
        except UndercamError as error:
            self._fail(state_after_error(error), str(error))
        except Exception as error:  # noqa: BLE001 - a camera that ends in silence looks as if it ran
            what = redact(f"{type(error).__name__}: {error}")
            self._fail(FAILED, f"unexpected error: {what}")
        finally:
            self._parts.states.forget(self.lease.camera)

    def _play(self) -> None:
        # Wait for the classifiers before connecting: a live camera would shed frames meanwhile.
        self._classifier.wait_for(self._config.settings.emotion.names_needed())
        lease = self.lease
        self._parts.check(lease.settings)
        source = open_source(lease.camera, lease.run, self._config, self._parts.clock)
        try:
            with closing(source), self._open_outbox(source.run, source.is_live) as outbox:
                self._run(source, outbox)
        finally:
            self._count(source, [])  # the frames that waited when the source was closed
        if self._is_over():
            self._set_state(STOPPED, "")
        else:
            self._set_state(ENDED, source.ending)

    def _run(self, source: Source, outbox: Outbox) -> None:
        clock, metrics = self._parts.clock, self._parts.metrics
        detect = self._parts.detect.for_camera(self._config.under_display)
        monitor = StatusMonitor(
            source.camera,
            source.run,
            clock,
            before=self.lease.before,
            # A file that is read again reports its states anew, in the run of its bytes: the times
            # are those of this reading, and the epoch keeps their numbers apart from earlier ones.
            wall_time=True,
            first_seq=0 if source.run == self.lease.run else self.lease.epoch,
        )

        def sink(events: Sequence[Event]) -> None:
            outbox.append(events)
            self._tell_state(events)
            if source.is_live:  # a file is read again, and makes the same events
                self._appended += sum(isinstance(e, FaceObserved | CameraStatus) for e in events)
            self._count(source, events)
            self._trouble, self._waiting = outbox.fault, outbox.waiting
            while not source.is_live and not outbox.has_room and not self._is_over():
                self._stop.wait(ROOM_S)
                outbox.append([])

        def note_search(how: str, seconds: float) -> None:
            metrics.stage_seconds.labels("detect").observe(seconds)
            metrics.searched.labels(source.camera, how).inc()
            self._analysed += 1

        def observe_lag(frame: Frame, events: Sequence[Event], analysed: bool) -> None:
            late_s = max(clock() - frame.header.captured_ms, 0) / 1000
            metrics.lag.labels(source.camera).set(late_s if source.is_live else 0)

        if self.lease.quarantined:
            reason = "its process died twice; it has a process of its own now"
            sink([monitor.report(QUARANTINED, reason)])
        run_stages(
            source,
            detect,
            self._classifier,
            self._config,
            sink,
            monitor=monitor,
            clock=clock,
            on_frame=observe_lag,
            on_search=note_search,
            should_stop=self._is_over,
        )

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._parts.monotonic() > self._until_s

    def _open_outbox(self, run: str, is_live: bool) -> Outbox:
        outbox = self._parts.settings.outbox
        return Outbox(outbox.folder, self.lease.camera, run, outbox.max_rows, sheds=is_live)

    def _fail(self, state: str, reason: str) -> None:
        """End the run; where it has no status yet, one is written in the run of its lease."""
        since_ms = None
        if not self._has_status:
            monitor = StatusMonitor(
                self.lease.camera, self.lease.run, self._parts.clock, before=self.lease.before
            )
            status = monitor.report(state, reason)
            since_ms = status.since_ms
            with (
                suppress(UndercamError, OSError),
                self._open_outbox(self.lease.run, True) as outbox,
            ):
                outbox.append([status])
                self._appended += 1
            self._tell_state([status])
        self._is_closed = True
        self._set_state(state, reason, since_ms)

    def _tell_state(self, events: Sequence[Event]) -> None:
        lease = self.lease
        self._parts.states.add(lease.camera, lease.settings.display_name, events)

    def _set_state(self, state: str, reason: str, since_ms: int | None = None) -> None:
        if state != self._state:
            self._since_ms = self._parts.clock() if since_ms is None else since_ms
        self._state, self._reason = state, reason
        metrics, camera = self._parts.metrics, self.lease.camera
        for name in RUN_STATES:
            metrics.state.labels(camera, name).set(name == state)
        if state not in VIDEO_STATES:
            metrics.lag.labels(camera).set(0)

    def _count(self, source: Source, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, CameraStatus):
                self._has_status = True
                state, reason = from_record(event.state, event.run, event.reason)
                # The end is reported only when camera and outbox are released.
                if state not in (*FINAL_STATES, FAILED):
                    self._set_state(state, reason, event.since_ms)
        metrics, camera = self._parts.metrics, self.lease.camera
        observations = sum(isinstance(event, FaceObserved) for event in events)
        metrics.observations.labels(camera).inc(observations)
        counts = source.counts()
        self._tally.bring(metrics.received.labels(camera), counts.received)
        self._tally.bring(metrics.decoded.labels(camera), counts.decoded)
        self._tally.bring(metrics.analysed.labels(camera), self._analysed)
        self._tally.bring(metrics.skipped.labels(camera), counts.skipped)
        self._tally.bring(metrics.reconnects.labels(camera), counts.reconnects)
        for cause, frames in counts.shed.items():
            self._tally.bring(metrics.shed.labels(camera, cause), frames)
