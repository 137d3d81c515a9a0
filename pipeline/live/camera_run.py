"""One camera under one lease, in a thread of its own: from its address to its outbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from threading import Event as Flag
from threading import Thread

from models.detectors.base import Picture
from models.faces import Faces
from pipeline.bus.outbox import EventsNotWritten, Outbox
from pipeline.camera_states import (
    AT_REST,
    CONNECTING,
    ENDED,
    FAILED,
    OF_A_RUN,
    QUARANTINED,
    READ,
    STOPPED,
    from_record,
    state_after,
)
from pipeline.clock import Clock, wall_clock
from pipeline.config import Settings
from pipeline.errors import UndercamError
from pipeline.frames import Frame
from pipeline.live.leases import Lease, Report
from pipeline.live.stage_runner import ClassifierClient, run_camera
from pipeline.metrics import CameraMetrics, Tally
from pipeline.records import CameraStatus, Event, FaceObserved
from pipeline.redact import redacted
from pipeline.stages.detect import Detect
from pipeline.stages.source.opening import Opened, open_source
from pipeline.stages.status import StatusMonitor

ROOM_S = 0.1
"""How often a camera that loses nothing looks whether its outbox has room again."""


@dataclass(frozen=True)
class Parts:
    """What the cameras of one process share."""

    settings: Settings
    detect: Detect
    metrics: CameraMetrics
    clock: Clock = wall_clock
    monotonic: Callable[[], float] = time.monotonic


class CameraRun:
    """Plays a camera until it ends, is stopped, or nobody has renewed its lease for `lease_s`."""

    def __init__(self, lease: Lease, parts: Parts, ask: ClassifierClient) -> None:
        self.lease = lease
        self._parts, self._ask = parts, ask
        self._settings = settings_for(lease, parts.settings)
        self._stop = Flag()
        self._is_closed = self._has_told = False
        self._state, self._since_ms = "", 0
        self._now(CONNECTING, "")
        self._trouble, self._waiting, self._analysed = "", 0, 0
        self._close_error = ""
        self._tally = Tally()
        self.renew()
        self._thread = Thread(target=self._main, name=f"camera {lease.camera}", daemon=True)
        self._thread.start()

    def renew(self) -> None:
        """The lease goes on."""
        self._until = self._parts.monotonic() + self._settings.workers.lease_s

    def stop(self) -> None:
        """End the run soon; `is_alive` says when it has."""
        self._stop.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the run has let go."""
        self._thread.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether the run still holds its camera and its outbox."""
        return self._thread.is_alive()

    def report(self) -> Report:
        """How the run fares."""
        return Report(
            self.lease,
            self._state,
            self._reason,
            self._trouble,
            self._waiting,
            self._since_ms,
            self._is_closed,
            self._close_error,
        )

    def _main(self) -> None:
        try:
            self._play()
        except EventsNotWritten as error:
            self._close_error = str(error)
            self._now(FAILED, str(error))
        except UndercamError as error:
            self._fail(state_after(error), str(error))
        except Exception as error:  # noqa: BLE001 - a camera that ends in silence looks as if it ran
            said = redacted(f"{type(error).__name__}: {error}")
            self._fail(FAILED, f"nobody foresaw this: {said}")

    def _play(self) -> None:
        _ = self._ask.model  # a live camera is not called before somebody can say what it shows
        lease = self.lease
        opened = open_source(
            lease.camera, lease.run, lease.settings, self._settings, self._parts.clock
        )
        source = opened.source
        with closing(source), self._outbox_of(source.run, opened.is_live) as outbox:
            self._run(opened, outbox)
        self._count(opened, [])  # what waited when it was closed
        if self._is_over():
            self._now(STOPPED, "")
        else:
            self._now(ENDED, source.ending)

    def _run(self, opened: Opened, outbox: Outbox) -> None:
        source, clock, metrics = opened.source, self._parts.clock, self._parts.metrics
        under_display = self.lease.settings.under_display
        look = self._parts.detect.for_camera(under_display)
        watch = StatusMonitor(
            source.camera,
            source.run,
            clock,
            before=self.lease.before,
            # A file that is read again tells anew how it stands, in the run of its bytes.
            by_day=True,
            first_seq=0 if source.run == self.lease.run else self.lease.epoch,
        )

        def sink(events: Sequence[Event]) -> None:
            outbox.append(events)
            self._count(opened, events)
            self._trouble, self._waiting = outbox.trouble, outbox.waiting
            while not opened.is_live and not outbox.has_room and not self._is_over():
                self._stop.wait(ROOM_S)
                outbox.append([])

        def detect(image: Picture) -> Faces:
            with metrics.stage_seconds.labels("detect").time():
                faces = look(image)
            self._analysed += 1
            return faces

        def seen(frame: Frame, events: Sequence[Event], analysed: bool) -> None:
            late_s = max(clock() - frame.header.captured_ms, 0) / 1000
            metrics.lag.labels(source.camera).set(late_s if opened.is_live else 0)

        if self.lease.quarantined:
            sink([watch.tell(QUARANTINED, "its process died twice; it has one of its own now")])
        run_camera(
            source,
            detect,
            self._ask,
            self._settings,
            sink,
            pace=opened.pace,
            watch=watch,
            under_display=under_display,
            clock=clock,
            seen=seen,
            stop=self._is_over,
        )

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._parts.monotonic() > self._until

    def _outbox_of(self, run: str, is_live: bool) -> Outbox:
        outbox = self._settings.outbox
        return Outbox(outbox.folder, self.lease.camera, run, outbox.max_rows, sheds=is_live)

    def _fail(self, state: str, reason: str) -> None:
        """The run is over; where it told nothing yet, that is told in the run of its lease."""
        since_ms = None
        if not self._has_told:
            watch = StatusMonitor(
                self.lease.camera, self.lease.run, self._parts.clock, before=self.lease.before
            )
            status = watch.tell(state, reason)
            since_ms = status.since_ms
            with suppress(UndercamError, OSError), self._outbox_of(self.lease.run, True) as outbox:
                outbox.append([status])
        self._is_closed = True
        self._now(state, reason, since_ms)

    def _now(self, state: str, reason: str, since_ms: int | None = None) -> None:
        if state != self._state:
            self._since_ms = self._parts.clock() if since_ms is None else since_ms
        self._state, self._reason = state, reason
        metrics, camera = self._parts.metrics, self.lease.camera
        for name in OF_A_RUN:
            metrics.state.labels(camera, name).set(name == state)
        if state not in READ:
            metrics.lag.labels(camera).set(0)

    def _count(self, opened: Opened, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, CameraStatus):
                self._has_told = True
                state, reason = from_record(event.state, event.run, event.reason)
                # How it ended is said when it has let go of everything.
                if state not in (*AT_REST, FAILED):
                    self._now(state, reason, event.since_ms)
        source, metrics, camera = opened.source, self._parts.metrics, self.lease.camera
        looks = sum(isinstance(event, FaceObserved) for event in events)
        metrics.looks.labels(camera).inc(looks)
        counts = opened.counts()
        self._tally.bring(metrics.received.labels(camera), counts.received)
        self._tally.bring(metrics.decoded.labels(camera), counts.decoded)
        self._tally.bring(metrics.analysed.labels(camera), self._analysed)
        self._tally.bring(metrics.undue.labels(camera), counts.undue)
        self._tally.bring(metrics.reconnects.labels(camera), source.reconnects)
        for cause, frames in counts.shed.items():
            self._tally.bring(metrics.shed.labels(camera, cause), frames)


def settings_for(lease: Lease, settings: Settings) -> Settings:
    """The settings in force for one camera: its own where it has any."""
    fps, mode = lease.settings.analyse_fps, lease.settings.mode
    if mode is not None:
        emotion = settings.emotion.model_copy(update={"mode": mode})
        settings = settings.model_copy(update={"emotion": emotion})
    if fps is None:
        return settings
    source = settings.source.model_copy(update={"analyse_fps": fps})
    return settings.model_copy(update={"source": source})
