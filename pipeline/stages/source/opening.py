"""From a camera's address to its source. The only module that knows every kind of source.

A new kind of source is a class in a file of its own and one entry in `OPENERS`; a new scheme of
addresses is also named in `pipeline.camera_url`, which checks addresses before anything is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from pipeline.camera_config import CameraConfig
from pipeline.clock import Clock, wall_clock
from pipeline.references import resolve, resolve_camera_url
from pipeline.service_settings import DiscoverySettings
from pipeline.settings import SourceSettings
from pipeline.stages.source.address import kind_of, run_id
from pipeline.stages.source.base import Source
from pipeline.stages.source.file import VideoSource
from pipeline.stages.source.live import LiveSource
from pipeline.stages.source.looped import LoopedFile


@dataclass(frozen=True)
class SourceRequest:
    """What to open for one run of one camera.

    `url`: the address, references already resolved. `run`: id of the run, but a file that is read
    to its end has one of its own, computed from its bytes and `run_settings`. `loops`: play a file
    in real time, again and again, as a camera.
    """

    url: str
    camera: str
    run: str
    settings: SourceSettings
    run_settings: str = ""
    loops: bool = False
    clock: Clock = wall_clock


def open_url(request: SourceRequest) -> Source:
    """Open the source of an address.

    A stream connects by itself, whenever it can. Raises InputError for an unknown scheme, and for
    a file or a webcam that cannot be read.
    """
    kind = kind_of(request.url)
    return OPENERS["loop" if kind == "file" and request.loops else kind](request)


def open_source(camera: str, run: str, config: CameraConfig, clock: Clock = wall_clock) -> Source:
    """Open the source of a configured camera for one run.

    Raises what `open_url` raises, and ConfigError for a reference that holds no address of a live
    camera, or that a camera may not use.
    """
    settings = config.settings
    configured = {camera.url for camera in settings.cameras.values()}
    return open_url(
        SourceRequest(
            url=_sign_in(
                resolve_camera_url(config.url, settings.source, configured), settings.discovery
            ),
            camera=camera,
            run=run,
            settings=settings.source,
            run_settings=config.observation_key,
            loops=config.play != "once",
            clock=clock,
        )
    )


def _sign_in(url: str, discovery: DiscoverySettings) -> str:
    """An address on the discovery's server, with its user and password: the registry holds none."""
    server = discovery.rtsp_url.rstrip("/") + "/"
    if not (discovery.rtsp_url and discovery.user and url.startswith(server)):
        return url
    user, password = (
        quote(resolve(part), safe="") for part in (discovery.user, discovery.password)
    )
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user}:{password}@{rest}"


def _open_file(request: SourceRequest) -> Source:
    return _open_video(request, run_id(request.url, request.run_settings))


def _open_webcam(request: SourceRequest) -> Source:
    return _open_video(request, request.run)


def _open_video(request: SourceRequest, run: str) -> Source:
    return VideoSource(
        request.url,
        request.camera,
        run,
        clock=request.clock,
        limit=request.settings.frame_limit,
        analyse_fps=request.settings.analyse_fps,
    )


def _open_loop(request: SourceRequest) -> Source:
    return LoopedFile(
        request.url,
        request.camera,
        request.run,
        request.settings.analyse_fps,
        clock=request.clock,
        limit=request.settings.frame_limit,
    )


def _open_live(request: SourceRequest) -> Source:
    return LiveSource(
        request.url, request.camera, request.run, request.settings, clock=request.clock
    )


OPENERS: dict[str, Callable[[SourceRequest], Source]] = {
    "file": _open_file,
    "loop": _open_loop,
    "webcam": _open_webcam,
    "stream": _open_live,
    "listen": _open_live,
}
"""By the kind of address, as `pipeline.camera_url.kind_of` tells it, or "loop"."""
