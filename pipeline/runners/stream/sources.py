"""Which source an address gets: a file to its end, a file for ever, a webcam, or a stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.clock import Clock, wall_clock
from pipeline.config import Settings
from pipeline.frames import Counts
from pipeline.references import resolve_camera
from pipeline.runners.inline import Source
from pipeline.runners.stream.lease import Lease
from pipeline.stages.pace import Pace
from pipeline.stages.source.address import kind_of, run_id
from pipeline.stages.source.file import VideoSource
from pipeline.stages.source.live import LiveSource
from pipeline.stages.source.looped import LoopedFile


class CameraSource(Source, Protocol):
    """A source that counts, and can be closed."""

    @property
    def reconnects(self) -> int:
        """Connections made after the first."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@dataclass(frozen=True)
class Opened:
    """A camera's source; the pace at which its frames are analysed, where the source does not pick
    them itself, and what became of all; whether it is live: then frames and events may be shed, and
    counted; of a file none are."""

    source: CameraSource
    pace: Pace
    counts: Callable[[], Counts]
    is_live: bool


def open_source(lease: Lease, settings: Settings, clock: Clock = wall_clock) -> Opened:
    """The source of a leased camera; `settings` are those in force for it.

    A stream connects by itself, whenever it can. Raises InputError for a file or a webcam that
    cannot be read, ConfigError for a reference that leads to no live camera's address, or that a
    camera may not use.
    """
    written = {camera.url for camera in settings.cameras.values()}
    url = resolve_camera(lease.settings.url, settings.source, written)
    camera, run = lease.camera, lease.run
    fps = settings.source.analyse_fps
    pace, limit = Pace(fps), settings.source.frame_limit

    match kind_of(url), lease.settings.play:
        case "file", "once":
            run = run_id(url, settings.of_looks(lease.settings.under_display))
            video = VideoSource(url, camera, run, clock=clock, limit=limit)
            return _opened(video, pace, is_live=False)
        case "file", _:
            looped = LoopedFile(url, camera, run, fps, clock=clock, limit=limit)
            return Opened(looped, Pace(0), looped.counts, is_live=True)
        case "webcam", _:
            video = VideoSource(url, camera, run, clock=clock, limit=limit)
            return _opened(video, pace, is_live=True)
        case _:
            live = LiveSource(url, camera, run, settings.source, fps, clock=clock)
            return Opened(live, Pace(0), live.counts, is_live=True)


def _opened(video: VideoSource, pace: Pace, is_live: bool) -> Opened:
    return Opened(video, pace, lambda: Counts(video.decoded, pace.undue, {}), is_live)
