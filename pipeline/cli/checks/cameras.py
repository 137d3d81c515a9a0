"""Checks of the cameras: each is opened until its first frame."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

from pipeline.cli.checks.base import REMOTE_TIMEOUT_S, Check, Finding, warning
from pipeline.config import Settings, resolve
from pipeline.errors import InputError, UndercamError
from pipeline.settings import CameraSettings

REGISTRY_TIMEOUT_S = 3.0
"""Longest wait for the cameras that `undercam cameras` has registered."""
MAX_OPEN_S, MAX_READ_S = 8.0, 4.0
"""Upper limits of source.open_timeout_s and source.read_timeout_s during a check."""


def checks_of_cameras(settings: Settings) -> dict[str, Check]:
    """One check per camera of the settings, and of the database where it can be read."""
    cameras = {**_registered_cameras(settings), **settings.cameras}
    if not cameras:
        return {"cameras": Check(lambda: warning("none", "`undercam cameras add NAME ADDRESS`"))}
    return {
        f"camera {name}": Check(_CameraProbe(name, camera, settings), REMOTE_TIMEOUT_S)
        for name, camera in sorted(cameras.items())
    }


class _CameraProbe:
    def __init__(self, name: str, camera: CameraSettings, settings: Settings) -> None:
        self._name, self._camera, self._settings = name, camera, settings

    def __call__(self) -> str | Finding:
        if not self._camera.enabled:
            return "disabled: it is not read"
        from pipeline.frames import ConnectionState
        from pipeline.live.leases import Lease
        from pipeline.stages.source.opening import open_source

        if self._camera.url.startswith("listen:"):
            return self._check_port()
        lease = Lease(self._name, 0, self._camera)
        opened = open_source(
            lease.camera, lease.run, lease.settings, _with_short_timeouts(self._settings)
        )
        source: Any = opened.source
        with closing(source):
            for one in source:
                if not isinstance(one, ConnectionState):
                    return f"a frame of {one.header.width}x{one.header.height}"
                if one.state in ("offline", "refused"):
                    what, _, remedy = one.reason.partition(": ")
                    where = f"camera {self._name}"
                    raise InputError(what, where, remedy or "check the camera and its address")
        raise InputError("no frame in it", f"camera {self._name}", "give another file or stream")

    def _check_port(self) -> str | Finding:
        """Whether we can listen: such a camera connects to us, and only while we do."""
        import socket
        from urllib.parse import urlsplit

        address = urlsplit(self._camera.url)
        try:
            where = (address.hostname or "", address.port or 554)
            socket.create_server(where).close()
        except (OSError, ValueError, OverflowError) as error:
            found = f"cannot listen for it ({getattr(error, 'strerror', None) or error})"
            remedy = "`undercam run` may listen already; else give it another port"
            return warning(found, remedy)
        return f"waits for its connection at {where[0]}:{where[1]}"


def _with_short_timeouts(settings: Settings) -> Settings:
    """The same settings with time-outs that end a check of a silent camera early."""
    source = settings.source
    update = {
        "open_timeout_s": min(source.open_timeout_s, MAX_OPEN_S),
        "read_timeout_s": min(source.read_timeout_s, MAX_READ_S),
        "max_age_s": max(source.max_age_s, 60.0),
        "analyse_fps": 0.0,
    }
    return settings.model_copy(update={"source": source.model_copy(update=update)})


def _registered_cameras(settings: Settings) -> Mapping[str, CameraSettings]:
    """The cameras of the database; none if it is missing or does not answer in time."""
    found: dict[str, CameraSettings] = {}

    def read() -> None:
        from pipeline.store.engine import open_store
        from pipeline.store.registry import registered_cameras

        with suppress(UndercamError, OSError):
            patience_s = min(settings.store.busy_timeout_s, REGISTRY_TIMEOUT_S)
            engine = open_store(resolve(settings.store.url), patience_s, read_only=True)
            try:
                found.update(registered_cameras(engine))
            finally:
                engine.dispose()

    thread = threading.Thread(target=read, name="cameras of the database", daemon=True)
    thread.start()
    thread.join(REGISTRY_TIMEOUT_S)
    return dict(found)
