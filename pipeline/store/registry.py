"""The camera registry: which cameras are to be read; seeded by the settings, changed at run time.

A registered camera's settings are JSON in the `cameras` table, which the supervisor reads every
second. An address that holds a credential is refused, because a database is read by many: register
a reference to it (`env:NAME`, `file:PATH`) instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event, Thread
from typing import Literal

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, select, update

from pipeline.camera_url import find_address_fault
from pipeline.clock import Clock, wall_clock
from pipeline.closing import Service
from pipeline.errors import ConfigError, ServiceError
from pipeline.redact import may_hold_credential
from pipeline.settings import CameraSettings
from pipeline.store.engine import begin_read, begin_write, reopen_if_replaced, use_store
from pipeline.store.schema import cameras
from pipeline.store.service_errors import describe_location
from pipeline.store.upserts import insert_new, upsert_camera

EVERY_S = 1.0
"""Seconds between two reads of the registry."""
Origin = Literal["settings", "command", "discovered"]
"""Who registered a camera: the configuration file, or `undercam cameras`."""


def registered_cameras(engine: Engine) -> dict[str, CameraSettings]:
    """Settings of all registered cameras, by name; raises ServiceError."""
    return {camera: settings for camera, settings, _ in _rows(engine)}


class RegistryWatch(Service):
    """Reads the registry every `every_s` on a thread of its own, so that a slow database blocks no
    caller. `first`, if given, is seeded before the first read."""

    def __init__(
        self,
        url: str,
        busy_timeout_s: float,
        first: Mapping[str, CameraSettings] | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        self._url, self._busy_timeout_s = url, busy_timeout_s
        self._first, self._every_s = first, every_s
        self._result: dict[str, CameraSettings] | ServiceError | None = None
        self._last_rows: list[tuple[str, CameraSettings, Origin]] = []
        self._stop = Event()
        self._thread = Thread(target=self._run, name="registry", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def __call__(self) -> dict[str, CameraSettings] | None:
        """The registry as last read, None before that; raises ServiceError if the read failed."""
        if isinstance(self._result, ServiceError):
            raise self._result
        return self._result

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.ident:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with use_store(self._url, self._busy_timeout_s) as engine:
                    self._watch(engine)
            except ServiceError as error:
                self._result = error
                self._stop.wait(self._every_s)

    def _watch(self, engine: Engine) -> None:
        """Read with one engine, which waits for a removed file; opening anew would create one."""
        while not self._stop.is_set():
            try:
                self._read(engine)
            except ServiceError as error:
                self._result = error
            self._stop.wait(self._every_s)

    def _read(self, engine: Engine) -> None:
        if self._first is not None:
            seed_cameras(engine, self._first)
            self._first = None
        is_new = reopen_if_replaced(engine)
        if is_new and not registered_cameras(engine):
            # The file was removed and created anew: an empty registry would end every camera.
            for camera, settings, origin in self._last_rows:
                register(engine, camera, settings, origin)
        self._last_rows = _rows(engine)
        self._result = {camera: settings for camera, settings, _ in self._last_rows}


def register(
    engine: Engine,
    camera: str,
    settings: CameraSettings,
    origin: Origin = "command",
    clock: Clock = wall_clock,
) -> None:
    """Register a camera, or change the settings of a registered one.

    Raises ConfigError for an address with a credential in it, or that no camera can have. That of
    a discovered camera is taken as it is: its path is a name that the server shows, and may look
    like anything.
    """
    if origin != "discovered":
        check_address(camera, settings)
    with begin_write(engine) as connection:
        upsert_camera(connection, _row(camera, settings, origin, clock()))


def change_camera(
    engine: Engine,
    camera: str,
    revise: Callable[[CameraSettings | None], CameraSettings],
    clock: Clock = wall_clock,
) -> tuple[CameraSettings | None, CameraSettings]:
    """Register what `revise` makes of a camera's settings, None where it is not registered.

    Returns the settings before and after. Two changes at once follow one another. Nothing is
    changed where `revise` raises. Raises ConfigError as `register` does.
    """
    with begin_write(engine) as connection:
        # PostgreSQL locks only a row that is there.
        unregistered = {"camera": camera, "stored_ms": clock(), "settings": None, "origin": None}
        insert_new(connection, cameras, {camera: unregistered})
        query = select(cameras.c.settings).where(cameras.c.camera == camera).with_for_update()
        json = connection.execute(query).scalar_one()
        before = None if json is None else _read_settings(camera, json, engine)
        after = revise(before)
        check_address(camera, after)
        upsert_camera(connection, _row(camera, after, "command", clock()))
    return before, after


def unregister(engine: Engine, camera: str) -> bool:
    """Unregister a camera; its rows stay. False when it was not registered."""
    removed = (
        update(cameras)
        .where(cameras.c.camera == camera, cameras.c.settings.is_not(None))
        .values(settings=None, origin=None)
    )
    with begin_write(engine) as connection:
        return connection.execute(removed).rowcount > 0


class DiscoveredCameras:
    """The part of the registry that discovery may change. Everything raises ServiceError when the
    database cannot answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def origins(self) -> dict[str, Origin]:
        """Who registered each camera, by its name: of all that are registered."""
        return {camera: origin for camera, _, origin in _rows(self._engine)}

    def add(self, camera: str, settings: CameraSettings) -> None:
        """Register a camera that was discovered."""
        register(self._engine, camera, settings, "discovered")

    def remove(self, camera: str) -> None:
        """Unregister a camera."""
        unregister(self._engine, camera)


def seed_cameras(
    engine: Engine, wanted: Mapping[str, CameraSettings], clock: Clock = wall_clock
) -> None:
    """Register the cameras of the configuration file; unregister those that it no longer names.

    Cameras registered by `undercam cameras` stay. Where both name a camera, the file's settings
    replace the others.
    """
    for camera, settings in wanted.items():
        check_address(camera, settings)
    with begin_write(engine) as connection:
        _unregister_dropped(connection, set(wanted))
        for camera, settings in sorted(wanted.items()):
            upsert_camera(connection, _row(camera, settings, "settings", clock()))


def check_address(camera: str, settings: CameraSettings) -> None:
    """Raise ConfigError when an address holds, or may hold, a user, a password, a token or a key
    (see `may_hold_credential`), or cannot be parsed, as with an unknown scheme."""
    where = f"cameras.{camera}.url"
    fault = find_address_fault(settings.url)
    if may_hold_credential(settings.url):
        name = f"{camera.upper().replace('-', '_')}_URL"
        remedy = f"put the address into the environment as {name} and write url = 'env:{name}'"
        if fault:
            remedy += f"; {fault[1]}"
        raise ConfigError("an address with a credential in it, or what may be one", where, remedy)
    if fault:
        raise ConfigError(fault[0], where, fault[1])


def _rows(engine: Engine) -> list[tuple[str, CameraSettings, Origin]]:
    listed = cameras.c.settings.is_not(None)
    query = select(cameras.c.camera, cameras.c.settings, cameras.c.origin).where(listed)
    with begin_read(engine) as connection:
        rows = connection.execute(query.order_by(cameras.c.camera)).all()
    return [(camera, _read_settings(camera, json, engine), origin) for camera, json, origin in rows]


def _unregister_dropped(connection: Connection, wanted: set[str]) -> None:
    dropped = (
        update(cameras)
        .where(cameras.c.origin == "settings", cameras.c.camera.not_in(sorted(wanted)))
        .values(settings=None, origin=None)
    )
    connection.execute(dropped)


def _row(camera: str, settings: CameraSettings, origin: Origin, now_ms: int) -> dict[str, object]:
    return {
        "camera": camera,
        "stored_ms": now_ms,
        "settings": settings.model_dump_json(),
        "origin": origin,
    }


def _read_settings(camera: str, settings: str, engine: Engine) -> CameraSettings:
    try:
        return CameraSettings.model_validate_json(settings)
    except ValidationError as error:
        remedy = (
            f"`undercam cameras set {camera}` again with this version ({error.errors()[0]['msg']})"
        )
        raise ServiceError(
            f"settings of camera {camera} not readable", describe_location(engine.url), remedy
        ) from error
