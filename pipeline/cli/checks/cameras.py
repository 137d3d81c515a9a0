"""Opens every camera until its first frame."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing, suppress

from pipeline.cli.checks.base import REMOTE_TIMEOUT_S, Check, Finding, warning
from pipeline.config import Settings, resolve
from pipeline.errors import InputError, UndercamError
from pipeline.settings import CameraSettings

REGISTRY_S = 3.0
"""How long to wait for the cameras that `undercam cameras add` put into the database."""
MAX_OPEN_S, MAX_READ_S = 8.0, 4.0
"""Upper limits of source.open_timeout_s and source.read_timeout_s for this check, seconds."""


def checks_of_cameras(settings: Settings) -> dict[str, Check]:
    """One check for each camera of the settings, and of the database where it answers."""
    cameras = {**_registered_cameras(settings), **settings.cameras}
    if not cameras:
        return {"cameras": Check(lambda: warning("none", "`undercam cameras add NAME ADDRESS`"))}
    return {
        f"camera {name}": Check(_CameraCheck(name, camera, settings), REMOTE_TIMEOUT_S)
        for name, camera in sorted(cameras.items())
    }


class _CameraCheck:
    def __init__(self, name: str, camera: CameraSettings, settings: Settings) -> None:
        self._name, self._camera, self._settings = name, camera, settings

    def __call__(self) -> str | Finding:
        if not self._camera.enabled:
            return "disabled: not read"
        from pipeline.camera_config import CameraConfig
        from pipeline.frames import ConnectionState
        from pipeline.live.leases import Lease
        from pipeline.stages.source.opening import open_source

        if self._camera.url.startswith("listen:"):
            return self._check_listening()
        lease = Lease(self._name, 0, self._camera)
        where = f"camera {self._name}"
        config = CameraConfig.of(lease.settings, _impatient(self._settings))
        source = open_source(lease.camera, lease.run, config)
        with closing(source):
            for item in source:
                if not isinstance(item, ConnectionState):
                    return f"a frame of {item.header.width}x{item.header.height}"
                if item.state in ("offline", "refused"):
                    what, _, remedy = item.reason.partition(": ")
                    raise InputError(what, where, remedy or "check the camera and its address")
        raise InputError("no frame in it", where, "give another file or stream")

    def _check_listening(self) -> str | Finding:
        """For a camera that pushes to us, only while we listen: whether we could listen."""
        import socket
        from urllib.parse import urlsplit

        address = urlsplit(self._camera.url)
        try:
            where = (address.hostname or "", address.port or 554)
            socket.create_server(where).close()
        except (OSError, ValueError, OverflowError) as error:
            found = f"cannot listen for it ({getattr(error, 'strerror', None) or error})"
            remedy = "`undercam run` may listen there already; else give it another port"
            return warning(found, remedy)
        return f"the camera is expected to push to {where[0]}:{where[1]}"


def _impatient(settings: Settings) -> Settings:
    """The same settings with short time-outs, and every frame analysed."""
    source = settings.source
    update = {
        "open_timeout_s": min(source.open_timeout_s, MAX_OPEN_S),
        "read_timeout_s": min(source.read_timeout_s, MAX_READ_S),
        "max_age_s": max(source.max_age_s, 60.0),
        "analyse_fps": 0.0,
    }
    return settings.model_copy(update={"source": source.model_copy(update=update)})


def _registered_cameras(settings: Settings) -> Mapping[str, CameraSettings]:
    """The cameras of the database; none where it is missing or does not answer soon."""
    found: dict[str, CameraSettings] = {}

    def read() -> None:
        from pipeline.store.engine import open_store
        from pipeline.store.registry import registered_cameras

        with suppress(UndercamError, OSError):
            patience_s = min(settings.store.busy_timeout_s, REGISTRY_S)
            engine = open_store(resolve(settings.store.url), patience_s, read_only=True)
            try:
                found.update(registered_cameras(engine))
            finally:
                engine.dispose()

    thread = threading.Thread(target=read, name="cameras of the database", daemon=True)
    thread.start()
    thread.join(REGISTRY_S)
    return dict(found)
