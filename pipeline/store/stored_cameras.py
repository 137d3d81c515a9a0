"""The cameras as `undercam cameras` and the control interface list and change them.

Both call the same methods, so both refuse the same things in the same words.
"""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Engine

from pipeline.camera_names import check_camera_name
from pipeline.clock import Clock, wall_clock
from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.redact import may_hold_credential, redact
from pipeline.references import check_reference, is_reference
from pipeline.settings import CameraSettings
from pipeline.store.queries import camera_overview
from pipeline.store.registry import change_camera, registered_cameras, unregister

OVERVIEW_MS = 3_600_000
Values = dict[str, Any]
"""Settings of a camera by their names, as JSON has them."""


class AlreadyRegistered(ConfigError):
    """A camera that should be a new one is not."""


class NotRegistered(ConfigError):
    """No camera of this name."""


class StoredCameras:
    """The registered cameras of a database.

    Everything raises ServiceError when the database cannot answer; what changes a camera raises
    ConfigError for a name, a value or an address that no camera can have.
    """

    def __init__(self, engine: Engine, settings: Settings, clock: Clock = wall_clock) -> None:
        self._engine, self._settings, self._clock = engine, settings, clock

    def overview(self) -> dict[str, Values]:
        """Every camera by its name: its settings, and its `state`, `reason` and `fps`, None for one
        that has no state yet. What may be a credential in an address is hidden."""
        now_ms = self._clock()
        states = {
            found.camera: found
            for found in camera_overview(self._engine, now_ms - OVERVIEW_MS, now_ms)
        }
        return {
            camera: {
                **_show(settings),
                "state": states[camera].state if camera in states else None,
                "reason": states[camera].reason if camera in states else None,
                "fps": states[camera].fps if camera in states else None,
            }
            for camera, settings in registered_cameras(self._engine).items()
        }

    def put(self, camera: str, values: Values, is_new: bool = False) -> tuple[bool, Values]:
        """Register a camera, or replace all settings of a registered one; with `is_new` raise
        AlreadyRegistered for one. Returns whether it is new, and its settings."""
        check_camera_name(camera)
        wanted = _validate(camera, values)

        def revise(before: CameraSettings | None) -> CameraSettings:
            if before and is_new:
                remedy = "change it with `undercam cameras set`"
                raise AlreadyRegistered("already registered", camera, remedy)
            self._check_reference(wanted.url)
            return wanted

        before, after = change_camera(self._engine, camera, revise, self._clock)
        return before is None, after.model_dump()

    def change(self, camera: str, values: Values) -> tuple[Values, Values]:
        """Change the settings that are given; returns all of them, before and after.

        Raises NotRegistered.
        """
        check_camera_name(camera)
        names = list(registered_cameras(self._engine))

        def revise(before: CameraSettings | None) -> CameraSettings:
            if before is None:
                raise _not_registered(camera, names)
            wanted = _validate(camera, before.model_dump() | values)
            if "url" in values:
                self._check_reference(wanted.url)
            return wanted

        before, after = change_camera(self._engine, camera, revise, self._clock)
        return _show(before) if before else {}, after.model_dump()

    def remove(self, camera: str) -> None:
        """Unregister a camera; its rows stay. Raises NotRegistered."""
        check_camera_name(camera)
        if not unregister(self._engine, camera):
            raise _not_registered(camera, list(registered_cameras(self._engine)))

    def _check_reference(self, url: str) -> None:
        """Refuse now a reference that the camera worker would refuse by its settings."""
        configured = {camera.url for camera in self._settings.cameras.values()}
        if is_reference(url) and url not in configured:
            check_reference(url, self._settings.source)


def _show(settings: CameraSettings) -> Values:
    """All settings; other programs may have written a credential into the address."""
    url = settings.url
    return settings.model_dump() | {"url": redact(url) if may_hold_credential(url) else url}


def _validate(camera: str, values: Values) -> CameraSettings:
    try:
        return CameraSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"bad value for {first['loc'][0]!r}", camera, first["msg"]) from None


def _not_registered(camera: str, names: list[str]) -> NotRegistered:
    near = difflib.get_close_matches(camera, names, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else "see `undercam cameras list`"
    return NotRegistered("not registered", camera, remedy)
