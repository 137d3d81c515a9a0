"""The newest frames of one live camera, without end: it reconnects by itself."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Condition, Event, Thread

from av.video.frame import VideoFrame

from pipeline.backoff import BackOff
from pipeline.clock import Clock, wall_clock
from pipeline.closing import Closing
from pipeline.errors import StageFailed
from pipeline.frames import UNDECODABLE, ClockName, ConnectionState, Counts, Frame, FrameHeader
from pipeline.redact import redact
from pipeline.settings import SourceSettings
from pipeline.stages.frame_sampler import FrameSampler
from pipeline.stages.source.address import live_address
from pipeline.stages.source.base import DEFAULT_FPS, ReceivedFrame, Source
from pipeline.stages.source.connection import Connection
from pipeline.stages.source.connection_errors import ConnectionLost
from pipeline.stages.source.images import DecodedImage, ToRgb
from pipeline.stages.source.snapshots import NotASnapshot, SnapshotConnection
from pipeline.stages.source.timing import CameraClock, LiveTime

REPORT_S = 0.5
"""How often the connection's state is yielded while no frame comes, seconds."""
STABLE_S = 5.0
"""A connection that gave frames for so long was a good one: the back-off begins anew after it."""
CLOSE_S = 1.0


@dataclass(frozen=True)
class _Waiting:
    """A frame to analyse that nobody has taken yet."""

    frame: VideoFrame
    index: int
    pts_s: float
    captured_ms: int
    received_ms: int
    clock: ClockName
    arrived_s: float


class LiveSource(Closing, Source):
    """Frames of an `rtsp(s)://`, `http(s)://` or `listen://` camera. It connects when it is made
    and reconnects by itself; nothing that happens to the camera ends it or raises.

    A thread of its own reads and decodes without pause, samples `settings.analyse_fps` frames a
    second of media time, and keeps the newest for whoever iterates. Frames received = frames
    yielded + `skipped` + all of `shed`, always. Causes of shedding: "newer" (replaced by a newer
    frame before it was taken), "stale" (waited longer than `settings.max_age_s`), "stopped" (waited
    when the source was closed), "undecodable" (came before the first key frame, or damaged).

    `index`, which counts the decoded frames, and media time (see LiveTime) continue from one
    connection to the next. `captured_ms` is the camera's own time where its RTCP reports tell it
    and it is plausible (clock "rtcp"), else the time of arrival (clock "arrival"; see CameraClock).

    Raises InputError for an address that is not one of a live camera.
    """

    is_live = True
    ending = "stopped"

    def __init__(
        self,
        url: str,
        camera: str,
        run: str,
        settings: SourceSettings,
        *,
        clock: Clock = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.camera, self.run = camera, run
        self.fps = settings.analyse_fps or DEFAULT_FPS
        self.sampler = FrameSampler(0)  # what is yielded has been sampled already
        self.connection_state: ConnectionState = ConnectionState("connecting", clock())
        self._url, self._address = url, live_address(url)
        self._settings, self._clock, self._now = settings, clock, monotonic
        self._may_be_snapshots = self._address.scheme in ("http", "https")
        self._format = ""
        least_s, most_s = settings.retry_min_s, settings.retry_max_s
        self._back_offs = {
            "offline": BackOff(least_s, most_s, monotonic, chance),
            "refused": BackOff(most_s, most_s, monotonic, chance),
        }
        self._connection = self._new_connection()
        self._sampler = FrameSampler(settings.analyse_fps)
        self._time = LiveTime()
        self._camera_clock = CameraClock()
        self._to_rgb = ToRgb()
        self._index = 0
        # Of counts(); guarded by _changed, as the reader thread and the consumer both change them.
        self._yielded = self._skipped = self._left_out = self._reconnects = 0
        self._shed: Counter[str] = Counter()
        self._waiting: _Waiting | None = None
        self._fault: Exception | None = None
        self._changed = Condition()
        self._closed = Event()
        self._reader = Thread(target=self._read, name=f"live {camera}", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Close the connection, from any thread; the iteration ends. May be called twice.

        Returns within about a second. The thread outlives it, by `settings.open_timeout_s` at most,
        only while it waits for a name server or a host that does not answer.
        """
        self._closed.set()
        with self._changed:
            if self._waiting:
                self._shed["stopped"] += 1
                self._waiting = None
            self._changed.notify_all()
        until_s = time.monotonic() + CLOSE_S
        while self._reader.is_alive() and time.monotonic() < until_s:
            # Again and again: the reader may be between two connections.
            self._connection.abort()
            self._reader.join(0.05)

    def counts(self) -> Counts:
        """All of them at one moment, though the reader goes on. A frame that waits to be taken is
        not among them yet."""
        with self._changed:
            shed = dict(self._shed)
            received = self._yielded + self._skipped + sum(shed.values())
            decoded = received - shed.get(UNDECODABLE, 0) - self._left_out
            return Counts(decoded, self._skipped, shed, self._reconnects, self._left_out)

    def __iter__(self) -> Iterator[Frame | ConnectionState]:
        """Frames; and every REPORT_S without one, the state of the connection."""
        while not self._closed.is_set():
            waiting = self._take()
            if waiting:
                yield self._frame(waiting)
            elif self._fault:
                reason = str(self._fault).replace(self._url, "its address")
                what = f"reading failed ({type(self._fault).__name__}: {reason})"
                raise StageFailed(
                    redact(what), f"camera {self.camera}", "set UNDERCAM_DEBUG=1 and report it"
                ) from self._fault
            elif not self._closed.is_set():
                yield self.connection_state

    def _take(self) -> _Waiting | None:
        """The newest frame to analyse; None when none came for a while."""
        with self._changed:
            until_s = self._now() + REPORT_S
            while not self._closed.is_set() and (left_s := until_s - self._now()) > 0:
                waiting, self._waiting = self._waiting, None
                if waiting is None:
                    self._changed.wait(left_s)
                elif self._now() - waiting.arrived_s > self._settings.max_age_s:
                    self._shed["stale"] += 1
                else:
                    self._yielded += 1
                    return waiting
        return None

    def _frame(self, waiting: _Waiting) -> Frame:
        image = DecodedImage(waiting.frame, self._to_rgb)
        header = FrameHeader(
            camera=self.camera,
            run=self.run,
            index=waiting.index,
            pts_s=waiting.pts_s,
            captured_ms=waiting.captured_ms,
            received_ms=waiting.received_ms,
            clock=waiting.clock,
            width=image.width,
            height=image.height,
        )
        return Frame(header, image)

    def _read(self) -> None:
        """The reader thread."""
        try:
            while not self._closed.is_set():
                self._connect()
        except Exception as error:  # noqa: BLE001 - goes to whoever iterates
            self._fault = error

    def _connect(self) -> None:
        """One connection, and the wait after it."""
        try:
            self._read_connection()
        except NotASnapshot as stream:
            self._may_be_snapshots, self._format = False, stream.format
        except ConnectionLost as lost:
            # Once a person has changed something, something else may answer at this address.
            is_http = self._address.scheme in ("http", "https")
            self._may_be_snapshots |= is_http and lost.state == "refused"
            self._set_state(lost.state, lost.reason)
            if not lost.retry_at_once:
                back_off = self._back_offs[lost.state]
                back_off.record_failure()
                self._closed.wait(back_off.left_s)
        self._connection = self._new_connection()

    def _read_connection(self) -> None:
        """Read a connection until it is lost."""
        with self._connection as connection, contextlib.closing(connection.frames()) as frames:
            first_s: float | None = None
            for received in frames:
                arrived_s = self._now()
                if first_s is None:
                    first_s = arrived_s
                    self._mark_connected()
                elif arrived_s - first_s > STABLE_S:
                    for back_off in self._back_offs.values():
                        back_off.record_success()
                self._receive(received, arrived_s)
                if self._closed.is_set():
                    return

    def _mark_connected(self) -> None:
        self._set_state("online", "")
        self._time.start_connection()
        self._camera_clock.start_connection()
        with self._changed:
            self._reconnects += self._index > 0

    def _receive(self, received: ReceivedFrame, arrived_s: float) -> None:
        """Count a frame; where it is to be analysed, let it wait in place of an older one."""
        pts_s = self._time.of(received.stamp_s, arrived_s)
        index, self._index = self._index, self._index + 1
        received_ms = self._clock()
        captured_ms, clock = self._camera_clock.estimate_capture(
            received.camera_ms, received_ms, arrived_s
        )
        waiting = _Waiting(received.frame, index, pts_s, captured_ms, received_ms, clock, arrived_s)
        with self._changed:
            if self._closed.is_set():
                self._shed["stopped"] += 1
            elif not self._sampler.is_due(pts_s):
                self._skipped += 1
            else:
                if self._waiting:
                    self._shed["newer"] += 1
                self._waiting = waiting
                self._changed.notify()

    def _on_shed(self, cause: str, frames: int) -> None:
        with self._changed:
            self._shed[cause] += frames

    def _on_left_out(self) -> None:
        with self._changed:
            self._skipped += 1
            self._left_out += 1

    def _set_state(self, state: str, reason: str) -> None:
        before = self.connection_state
        if (state, reason) != (before.state, before.reason):
            since_ms = before.since_ms if state == before.state else self._clock()
            self.connection_state = ConnectionState(state, since_ms, reason)  # type: ignore[arg-type]

    def _new_connection(self) -> Connection | SnapshotConnection:
        if self._may_be_snapshots:
            return SnapshotConnection(self._address, self._settings, self._on_shed, self._now)
        return Connection(
            *(self._address, self._settings, self._on_shed, self._on_left_out),
            *(self._now, self._format),
        )
