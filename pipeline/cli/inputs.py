"""What `undercam analyze` reads: a file to its end, or a live address for so many seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

from pipeline.camera_names import nearest_camera_name
from pipeline.camera_url import find_address_fault, kind_of, webcam_device
from pipeline.clock import wall_clock
from pipeline.config import Settings
from pipeline.errors import ConfigError, InputError
from pipeline.frames import ConnectionState, Counts
from pipeline.redact import redact
from pipeline.references import is_reference, resolve_camera_url
from pipeline.stages.source.address import check_webcam, live_address
from pipeline.stages.source.base import Source
from pipeline.stages.source.opening import SourceRequest, open_url

NO_PUSH = "no camera has connected yet: let it push to this port"


class _Observed(Protocol):
    """What ReadLimit needs of a source."""

    @property
    def connection_state(self) -> ConnectionState | None: ...

    def counts(self) -> Counts: ...


class ReadLimit:
    """Tells when a live source was read long enough: `seconds` after its first frame.

    Raises InputError with the reason where none comes: at once where a camera cannot be reached or
    refuses, after `patience_s` where it is one that pushes to us.
    """

    def __init__(
        self,
        source: _Observed,
        where: str,
        seconds: float,
        patience_s: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._where, self._seconds = source, where, seconds
        self._patience_s, self._now = patience_s, now
        self._began_s: float | None = None
        self._first_s: float | None = None

    def __call__(self) -> bool:
        """Whether to stop; to be called again and again from when reading begins."""
        now_s = self._now()
        self._began_s = now_s if self._began_s is None else self._began_s
        if self._source.counts().decoded:
            self._first_s = now_s if self._first_s is None else self._first_s
            return now_s - self._first_s >= self._seconds
        state = self._source.connection_state
        is_late = now_s - self._began_s >= self._patience_s
        is_lost = state is not None and state.state in ("offline", "refused")
        if is_late and (is_lost or self._patience_s):
            reason = state.reason if state and state.reason else NO_PUSH
            raise InputError("no frame from the camera", self._where, reason)
        return False


def open_input(
    clip: str,
    camera: str,
    settings: Settings,
    seconds: float | None,
    run_settings: str,
    resources: ExitStack,
) -> tuple[Source, Callable[[], bool]]:
    """Open a file, a webcam, a live address, or the one that a reference holds, in `resources`.

    Returns the source and what tells when to stop reading it. `run_settings` are the settings that
    decide the run of a file. Raises ConfigError for a live address without `seconds`, or a file
    with them; InputError for what cannot be read.
    """
    url = resolve_camera_url(clip, settings.source, {clip})
    where = clip if is_reference(clip) else redact(clip)
    if fault := find_address_fault(url):
        raise InputError(fault[0], where, fault[1])
    name = camera or default_name(clip, url)
    kind = kind_of(url)
    if kind == "webcam":
        check_webcam(webcam_device(url) or url)
    if kind == "file" and seconds is not None:
        raise ConfigError("a file is read to its end", where, "leave out --seconds")
    if kind != "file" and seconds is None:
        remedy = "say how long to read it: --seconds 30"
        raise ConfigError("a live address has no end", where, remedy)
    request = SourceRequest(url, name, f"e{wall_clock()}", settings.source, run_settings)
    source = resources.enter_context(closing(open_url(request)))
    if seconds is None:
        return source, lambda: False
    patience_s = max(seconds, settings.source.open_timeout_s) if kind == "listen" else 0.0
    return source, ReadLimit(source, where, seconds, patience_s)


def default_name(clip: str, url: str) -> str:
    """The name of a camera that nobody named: after its file, its host or its reference.

    >>> default_name("env:BACK_DOOR_URL", "rtsp://10.0.0.7/live"), default_name("a/B 1.mp4", "")
    ('back_door', 'b-1')
    """
    if is_reference(clip):
        stem = Path(clip.partition(":")[2]).stem
        return nearest_camera_name(stem.lower().removesuffix("_url"))
    if kind_of(clip) in ("stream", "listen"):
        return nearest_camera_name(str(live_address(clip).hostname))
    return nearest_camera_name(Path(clip).stem, "clip")
