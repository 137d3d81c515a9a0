"""Cameras that publish to a MediaMTX server come into the registry and go by themselves."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable

from pipeline.camera_names import MAX_LENGTH, nearest_camera_name
from pipeline.closing import Service
from pipeline.config import Settings, resolve
from pipeline.errors import ConfigError, ServiceError
from pipeline.live.mediamtx import MediaMtxApi, camera_url
from pipeline.records import CAMERA_PATTERN
from pipeline.redact import may_hold_credential
from pipeline.settings import CameraSettings
from pipeline.store.engine import use_store
from pipeline.store.registry import DiscoveredCameras

DIGEST_CHARS = 6


def name_camera(path: str) -> str:
    """The camera name of a path: the path itself where it is a valid name, else the nearest name
    with six digits of the path's sha256, so that it depends on the path alone.

    >>> name_camera("front"), name_camera("Halle 3/Tür")
    ('front', 'halle-3-t-r-9a0adc')
    """
    if re.fullmatch(CAMERA_PATTERN, path):
        return path
    digest = hashlib.sha256(path.encode()).hexdigest()[:DIGEST_CHARS]
    return f"{nearest_camera_name(path)[: MAX_LENGTH - DIGEST_CHARS - 1]}-{digest}"


class Discovery(Service):
    """Registers what publishes, and unregisters what has not for `discovery.remove_after_s`.

    A camera that the configuration file or a command has registered under the same name is left
    as it is. `fault` says why nothing can be discovered now, "" while it can.
    """

    def __init__(
        self,
        settings: Settings,
        list_publishers: Callable[[], Iterable[str]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._monotonic = settings, monotonic
        self._list = list_publishers or MediaMtxApi(settings.discovery).list_publishers
        self._last_seen_s: dict[str, float] = {}
        self.fault = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="discovery", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; what was discovered stays registered for the next run."""
        self._stop.set()
        if self._thread.ident:
            self._thread.join()

    def _main(self) -> None:
        store = self._settings.store
        while not self._stop.is_set():
            try:
                with use_store(resolve(store.url), store.busy_timeout_s) as engine:
                    while not self._stop.is_set():
                        self.step(DiscoveredCameras(engine))
                        self._stop.wait(self._settings.discovery.poll_s)
            except (ServiceError, ConfigError) as error:
                self.fault = str(error)
                self._stop.wait(self._settings.discovery.poll_s)

    def step(self, registered: DiscoveredCameras) -> None:
        """Bring the registry up to date once.

        Raises ServiceError where server or database do not answer, ConfigError for settings that
        cannot be used.
        """
        now_s, discovery = self._monotonic(), self._settings.discovery
        if may_hold_credential(discovery.rtsp_url):
            remedy = "put them into discovery.user and discovery.password"
            raise ConfigError("user or password in an address", "discovery.rtsp_url", remedy)
        paths = {name_camera(path): path for path in self._list()}
        origins = registered.origins()
        for camera, path in paths.items():
            self._last_seen_s[camera] = now_s
            if camera not in origins:
                shown = path if path != camera else ""
                own = CameraSettings(url=camera_url(discovery, path), display_name=shown[:200])
                registered.add(camera, own)
        for camera, origin in origins.items():
            # One that was there before this process began is given the same time to come back.
            seen_s = self._last_seen_s.setdefault(camera, now_s)
            if origin == "discovered" and now_s - seen_s > discovery.remove_after_s:
                registered.remove(camera)
                del self._last_seen_s[camera]
        self.fault = ""
