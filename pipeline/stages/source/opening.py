"""Which source an address gets: a file to its end, a file for ever, a webcam, or a stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.camera_config import CameraConfig
from pipeline.clock import Clock, wall_clock
from pipeline.frames import Counts
from pipeline.references import resolve_camera
from pipeline.stages.frame_sampler import FrameSampler
from pipeline.stages.source.address import kind_of, run_id
from pipeline.stages.source.base import Source
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
    pace: FrameSampler
    counts: Callable[[], Counts]
    is_live: bool


def open_source(camera: str, run: str, config: CameraConfig, clock: Clock = wall_clock) -> Opened:
    """The source of a camera for one run. A file to its end has a run of its own: of its bytes and
    settings.

    A stream connects by itself, whenever it can. Raises InputError for a file or a webcam that
    cannot be read, ConfigError for a reference that leads to no live camera's address, or that a
    camera may not use.
    """
    settings = config.settings
    written = {camera.url for camera in settings.cameras.values()}
    url = resolve_camera(config.url, settings.source, written)
    fps = settings.source.analyse_fps
    pace, limit = FrameSampler(fps), settings.source.frame_limit

    match kind_of(url), config.play:
        case "file", "once":
            run = run_id(url, config.observation_key)
            video = VideoSource(url, camera, run, clock=clock, limit=limit)
            return _opened(video, pace, is_live=False)
        case "file", _:
            looped = LoopedFile(url, camera, run, fps, clock=clock, limit=limit)
            return Opened(looped, FrameSampler(0), looped.counts, is_live=True)
        case "webcam", _:
            video = VideoSource(url, camera, run, clock=clock, limit=limit)
            return _opened(video, pace, is_live=True)
        case _:
            live = LiveSource(url, camera, run, settings.source, fps, clock=clock)
            return Opened(live, FrameSampler(0), live.counts, is_live=True)


def _opened(video: VideoSource, pace: FrameSampler, is_live: bool) -> Opened:
    return Opened(video, pace, lambda: Counts(video.decoded, pace.undue, {}), is_live)
