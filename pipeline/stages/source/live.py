"""The newest pictures of one live camera, for ever: it reconnects by itself."""

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
from pipeline.redact import redacted
from pipeline.settings import SourceSettings
from pipeline.stages.frame_sampler import FrameSampler
from pipeline.stages.source.address import live_address
from pipeline.stages.source.camera_clock import CameraClock
from pipeline.stages.source.connection import Connection
from pipeline.stages.source.live_time import LiveTime
from pipeline.stages.source.lost import Lost
from pipeline.stages.source.picture import ToRgb
from pipeline.stages.source.shot import ReceivedFrame
from pipeline.stages.source.snapshots import IsStream, Snapshots

LINK_S = 0.5
"""How often the link is told while no frame comes, seconds."""
STEADY_S = 5.0
"""A connection that gave pictures for so long was a good one: its loss is the first again."""
CLOSE_S = 1.0


@dataclass(frozen=True)
class _Waiting:
    """A due picture that nobody has taken yet."""

    picture: VideoFrame
    index: int
    pts_s: float
    captured_ms: int
    received_ms: int
    clock: ClockName
    arrived_s: float


class LiveSource(Closing):
    """Frames of an `rtsp(s)://`, `http(s)://` or `listen://` camera. Iterate it once, close it
    afterwards. It connects when it is made; nothing that happens to the camera ends it or raises.

    A thread of its own reads and decodes without pause, picks `analyse_fps` frames a second of
    media time, and keeps the newest for whoever iterates. Pictures received = frames given +
    `undue` + all of `shed`, always: "newer" were replaced by a newer one before they were taken,
    "stale" waited longer than `settings.max_age_s`, "stopped" waited at the end, "undecodable" came
    before the first key frame, or damaged.

    `index`, which counts the decoded ones, and media time (see LiveTime) go on from one connection
    to the next. `captured_ms` is the camera's own word where its RTCP reports tell it and it can be
    true (clock "rtcp"), else the time of arrival (clock "arrival"; see CameraClock).

    Raises InputError for an address that is none of a live camera.
    """

    ending = "stopped"

    def __init__(
        self,
        url: str,
        camera: str,
        run: str,
        settings: SourceSettings,
        analyse_fps: float,
        *,
        clock: Clock = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.camera, self.run = camera, run
        self.undue = 0
        self.reconnects = 0
        self.shed: Counter[str] = Counter()
        self.link = ConnectionState("connecting", clock())
        self._url, self._address, self._fps = url, live_address(url), analyse_fps
        self._settings, self._clock, self._now = settings, clock, monotonic
        self._may_be_snapshots = self._address.scheme in ("http", "https")
        self._format = ""
        least_s, most_s = settings.retry_min_s, settings.retry_max_s
        self._again = {
            "offline": BackOff(least_s, most_s, monotonic, chance),
            "refused": BackOff(most_s, most_s, monotonic, chance),
        }
        self._connection = self._new_connection()
        self._pace = FrameSampler(analyse_fps)
        self._time = LiveTime()
        self._camera_clock = CameraClock()
        self._to_rgb = ToRgb()
        self._index = 0
        self._given = 0
        self._waiting: _Waiting | None = None
        self._fault: Exception | None = None
        self._news = Condition()
        self._closed = Event()
        self._reader = Thread(target=self._read, name=f"live {camera}", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Hang up, from any thread; the iteration ends. May be called twice.

        Returns within about a second. Only where a name or a host that does not answer is waited
        for does the thread outlive it, by `settings.open_timeout_s` at most.
        """
        self._closed.set()
        with self._news:
            if self._waiting:
                self.shed["stopped"] += 1
                self._waiting = None
            self._news.notify_all()
        until_s = time.monotonic() + CLOSE_S
        while self._reader.is_alive() and time.monotonic() < until_s:
            self._connection.hang_up()
            self._reader.join(0.05)

    @property
    def decoded(self) -> int:
        """Frames decoded whose lot is known: given, not due, or shed for load."""
        return self.counts().decoded

    def counts(self) -> Counts:
        """All of them at one moment, though the reader goes on."""
        with self._news:
            shed = dict(self.shed)
            received = self._given + self.undue + sum(shed.values())
            return Counts(received - shed.get(UNDECODABLE, 0), self.undue, shed)

    def __iter__(self) -> Iterator[Frame | ConnectionState]:
        """Frames; and every LINK_S in which none came, how the link stands."""
        while not self._closed.is_set():
            waiting = self._take()
            if waiting:
                yield self._frame(waiting)
            elif self._fault:
                said = str(self._fault).replace(self._url, "its address")
                what = f"reading failed ({type(self._fault).__name__}: {said})"
                raise StageFailed(
                    redacted(what), f"camera {self.camera}", "set UNDERCAM_DEBUG=1 and report it"
                ) from self._fault
            elif not self._closed.is_set():
                yield self.link

    def _take(self) -> _Waiting | None:
        """The newest due picture, which is then given; None when none came for a while."""
        with self._news:
            until_s = self._now() + LINK_S
            while not self._closed.is_set() and (left_s := until_s - self._now()) > 0:
                waiting, self._waiting = self._waiting, None
                if waiting is None:
                    self._news.wait(left_s)
                elif self._now() - waiting.arrived_s > self._settings.max_age_s:
                    self.shed["stale"] += 1
                else:
                    self._given += 1
                    return waiting
        return None

    def _frame(self, waiting: _Waiting) -> Frame:
        image = self._to_rgb(waiting.picture)
        header = FrameHeader(
            camera=self.camera,
            run=self.run,
            index=waiting.index,
            pts_s=waiting.pts_s,
            captured_ms=waiting.captured_ms,
            received_ms=waiting.received_ms,
            clock=waiting.clock,
            width=image.shape[1],
            height=image.shape[0],
        )
        return Frame(header, image)

    def _read(self) -> None:
        """The thread."""
        try:
            while not self._closed.is_set():
                self._connect()
        except Exception as error:  # noqa: BLE001 - goes to whoever iterates
            self._fault = error

    def _connect(self) -> None:
        """One connection, and the wait after it."""
        try:
            self._follow()
        except IsStream as stream:
            self._may_be_snapshots, self._format = False, stream.format
        except Lost as lost:
            # Something else may answer at this address after a person changed something.
            is_http = self._address.scheme in ("http", "https")
            self._may_be_snapshots |= is_http and lost.state == "refused"
            self._set_link(lost.state, lost.reason)
            if not lost.at_once:
                again = self._again[lost.state]
                again.failed()
                self._closed.wait(again.left_s)
        self._connection = self._new_connection()

    def _follow(self) -> None:
        """Read a connection until it is lost."""
        with self._connection as connection, contextlib.closing(connection.shots()) as shots:
            first_s: float | None = None
            for shot in shots:
                arrived_s = self._now()
                if first_s is None:
                    first_s = arrived_s
                    self._begin()
                elif arrived_s - first_s > STEADY_S:
                    for again in self._again.values():
                        again.succeeded()
                self._bring(shot, arrived_s)
                if self._closed.is_set():
                    return

    def _begin(self) -> None:
        self._set_link("online", "")
        self._time.connected()
        self._camera_clock.connected()
        self.reconnects += self._index > 0

    def _bring(self, shot: ReceivedFrame, arrived_s: float) -> None:
        """Count a picture, and let it wait in place of an older one where it is due."""
        pts_s = self._time.of(shot.stamp_s, arrived_s)
        index, self._index = self._index, self._index + 1
        received_ms = self._clock()
        captured_ms, clock = self._camera_clock.captured(shot.camera_ms, received_ms, arrived_s)
        waiting = _Waiting(shot.picture, index, pts_s, captured_ms, received_ms, clock, arrived_s)
        with self._news:
            if self._closed.is_set():
                self.shed["stopped"] += 1
            elif not self._pace.is_due(pts_s):
                self.undue += 1
            else:
                if self._waiting:
                    self.shed["newer"] += 1
                self._waiting = waiting
                self._news.notify()

    def _give_up(self, cause: str, pictures: int) -> None:
        with self._news:
            self.shed[cause] += pictures

    def _set_link(self, state: str, reason: str) -> None:
        if (state, reason) != (self.link.state, self.link.reason):
            since_ms = self.link.since_ms if state == self.link.state else self._clock()
            self.link = ConnectionState(state, since_ms, reason)  # type: ignore[arg-type]

    def _new_connection(self) -> Connection | Snapshots:
        if self._may_be_snapshots:
            return Snapshots(self._address, self._settings, self._fps, self._give_up, self._now)
        return Connection(self._address, self._settings, self._give_up, self._now, self._format)
