"""What `undercam analyze` reads: a file to its end, or a live address for so many seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.camera_names import nearest_camera_name
from pipeline.camera_url import kind_of, webcam_device, written_fault
from pipeline.clock import wall_clock
from pipeline.config import Settings
from pipeline.errors import ConfigError, InputError
from pipeline.frames import ConnectionState
from pipeline.redact import redacted
from pipeline.references import is_reference, resolve_camera
from pipeline.stages.frame_sampler import FrameSampler
from pipeline.stages.source.address import check_webcam, live_address, run_id
from pipeline.stages.source.base import Source
from pipeline.stages.source.file import DEFAULT_FPS, VideoSource
from pipeline.stages.source.live import LiveSource

NOT_CALLED = "no camera has called yet: let it push to this port"


class _Decoding(Protocol):
    @property
    def decoded(self) -> int: ...


@dataclass(frozen=True)
class Opened:
    """A source and what is known of it: pictures in a second, and how many, None where nobody
    knows; what picks its frames, None where the settings do; when to stop; what is damaged; and the
    packets of a short clip."""

    source: Source
    fps: float
    frame_count: int | None = None
    pace: FrameSampler | None = None
    stop: Callable[[], bool] = lambda: False
    damage: Callable[[], str] = str
    packets: int | None = None


class Until:
    """Says when a live source was read long enough: `seconds` after its first frame.

    Raises InputError with the reason where none comes: at once where a camera cannot be reached or
    refuses, after `patience_s` where it is one that calls us.
    """

    def __init__(
        self,
        source: _Decoding,
        where: str,
        seconds: float,
        link: Callable[[], ConnectionState | None] = lambda: None,
        patience_s: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._where, self._seconds = source, where, seconds
        self._link, self._patience_s, self._now = link, patience_s, now
        self._began_s: float | None = None
        self._first_s: float | None = None

    def __call__(self) -> bool:
        """Whether it is time; to be asked again and again from when reading begins."""
        now_s = self._now()
        self._began_s = now_s if self._began_s is None else self._began_s
        if self._source.decoded:
            self._first_s = now_s if self._first_s is None else self._first_s
            return now_s - self._first_s >= self._seconds
        link = self._link()
        is_late = now_s - self._began_s >= self._patience_s
        is_lost = link is not None and link.state in ("offline", "refused")
        if is_late and (is_lost or self._patience_s):
            reason = link.reason if link and link.reason else NOT_CALLED
            raise InputError("no picture from the camera", self._where, reason)
        return False


def open_input(
    clip: str,
    camera: str,
    settings: Settings,
    seconds: float | None,
    looks: str,
    resources: ExitStack,
) -> Opened:
    """Open a file, a webcam, a live address, or the one that a reference holds, in `resources`.

    `looks` are the settings that a file's run is named after. Raises ConfigError for a live address
    without `seconds`, or a file with them; InputError for what cannot be read.
    """
    url = resolve_camera(clip, settings.source, {clip})
    where = clip if is_reference(clip) else redacted(clip)
    if fault := written_fault(url):
        raise InputError(fault[0], where, fault[1])
    name = camera or default_name(clip, url)
    match kind_of(url):
        case "file":
            if seconds is not None:
                raise ConfigError("a file is read to its end", where, "leave out --seconds")
            file = resources.enter_context(
                VideoSource(url, name, run_id(url, looks), limit=settings.source.frame_limit)
            )
            return Opened(
                *(file, file.fps, file.frame_count),
                damage=lambda: file.damage,
                packets=file.packets,
            )
        case "webcam":
            check_webcam(webcam_device(url) or url)
            _require(seconds, where)
            webcam = resources.enter_context(
                VideoSource(url, name, f"e{wall_clock()}", limit=settings.source.frame_limit)
            )
            return Opened(webcam, webcam.fps, stop=Until(webcam, where, seconds or 0))
        case kind:
            _require(seconds, where)
            fps, open_timeout_s = settings.source.analyse_fps, settings.source.open_timeout_s
            patience_s = max(seconds or 0, open_timeout_s) if kind == "listen" else 0.0
            live = resources.enter_context(
                LiveSource(url, name, f"e{wall_clock()}", settings.source, fps)
            )
            stop = Until(live, where, seconds or 0, lambda: live.link, patience_s)
            return Opened(live, fps or DEFAULT_FPS, pace=FrameSampler(0), stop=stop)


def default_name(clip: str, url: str) -> str:
    """What a camera is called that nobody named: after its file, its host or its reference.

    >>> default_name("env:BACK_DOOR_URL", "rtsp://10.0.0.7/live"), default_name("a/B 1.mp4", "")
    ('back_door', 'b-1')
    """
    if is_reference(clip):
        stem = Path(clip.partition(":")[2]).stem
        return nearest_camera_name(stem.lower().removesuffix("_url"))
    if kind_of(clip) in ("stream", "listen"):
        return nearest_camera_name(str(live_address(clip).hostname))
    return nearest_camera_name(Path(clip).stem, "clip")


def _require(seconds: float | None, where: str) -> None:
    if seconds is None:
        remedy = "say how long it is read: --seconds 30"
        raise ConfigError("a live address has no end", where, remedy)
