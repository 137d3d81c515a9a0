"""Every camera, opened for a moment."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

from pipeline.cli.checks.base import FAR_S, Check, Finding, warning
from pipeline.config import Settings, resolve
from pipeline.errors import InputError, UndercamError
from pipeline.settings import CameraSettings

ROSTER_S = 3.0
"""To wait for the cameras that `undercam cameras` has added."""
OPEN_MOST_S, READ_MOST_S = 8.0, 4.0
"""What source.open_timeout_s and source.read_timeout_s may be here."""


def checks_of_cameras(settings: Settings) -> dict[str, Check]:
    """One for each camera of the settings, and of the database where it answers."""
    cameras = {**_added(settings), **settings.cameras}
    if not cameras:
        return {"cameras": Check(lambda: warning("none", "`undercam cameras add NAME ADDRESS`"))}
    return {
        f"camera {name}": Check(_Look(name, camera, settings), FAR_S)
        for name, camera in sorted(cameras.items())
    }


class _Look:
    def __init__(self, name: str, camera: CameraSettings, settings: Settings) -> None:
        self._name, self._camera, self._settings = name, camera, settings

    def __call__(self) -> str | Finding:
        if not self._camera.enabled:
            return "disabled: it is not read"
        from pipeline.camera_config import CameraConfig
        from pipeline.frames import ConnectionState
        from pipeline.live.leases import Lease
        from pipeline.stages.source.opening import open_source

        if self._camera.url.startswith("listen:"):
            return self._listens()
        lease = Lease(self._name, 0, self._camera)
        config = CameraConfig.of(lease.settings, _hasty(self._settings))
        opened = open_source(lease.camera, lease.run, config)
        source: Any = opened.source
        with closing(source):
            for one in source:
                if not isinstance(one, ConnectionState):
                    return f"a picture of {one.header.width}x{one.header.height}"
                if one.state in ("offline", "refused"):
                    what, _, remedy = one.reason.partition(": ")
                    where = f"camera {self._name}"
                    raise InputError(what, where, remedy or "see to the camera and its address")
        raise InputError("no picture in it", f"camera {self._name}", "give another file or stream")

    def _listens(self) -> str | Finding:
        """It calls us: whether we could listen, as it will come only while we do."""
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
        return f"waits for it to call {where[0]}:{where[1]}"


def _hasty(settings: Settings) -> Settings:
    """The same, but a camera that does not answer is given up soon."""
    source = settings.source
    update = {
        "open_timeout_s": min(source.open_timeout_s, OPEN_MOST_S),
        "read_timeout_s": min(source.read_timeout_s, READ_MOST_S),
        "max_age_s": max(source.max_age_s, 60.0),
        "analyse_fps": 0.0,
    }
    return settings.model_copy(update={"source": source.model_copy(update=update)})


def _added(settings: Settings) -> Mapping[str, CameraSettings]:
    """The cameras of the database; none where it is not there, or does not answer soon."""
    found: dict[str, CameraSettings] = {}

    def read() -> None:
        from pipeline.store.engine import open_store
        from pipeline.store.registry import roster

        with suppress(UndercamError, OSError):
            patience_s = min(settings.store.busy_timeout_s, ROSTER_S)
            engine = open_store(resolve(settings.store.url), patience_s, read_only=True)
            try:
                found.update(roster(engine))
            finally:
                engine.dispose()

    thread = threading.Thread(target=read, name="cameras of the database", daemon=True)
    thread.start()
    thread.join(ROSTER_S)
    return dict(found)
