"""The cameras that are to be read: seeded by the settings, changed while everything runs.

A camera's settings stand as JSON in the `cameras` table, where whoever assigns cameras looks every
second. An address that holds a credential is refused: a reference to it goes in instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event, Thread
from typing import Literal

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, select, update

from pipeline.camera_url import written_fault
from pipeline.clock import Clock, wall_clock
from pipeline.closing import Service
from pipeline.errors import ConfigError, ServiceError
from pipeline.redact import may_hold_credential
from pipeline.settings import CameraSettings
from pipeline.store.engine import renew, storing, using_store
from pipeline.store.faults import place, reading
from pipeline.store.schema import cameras
from pipeline.store.upserts import put_camera

EVERY_S = 1.0
"""Between two looks at the roster."""
Origin = Literal["settings", "command"]
"""Who put a camera on the roster: the configuration file, or `undercam cameras`."""


def roster(engine: Engine) -> dict[str, CameraSettings]:
    """Every camera on the roster, by name; raises ServiceError when the database cannot answer."""
    return {camera: settings for camera, settings, _ in _rows(engine)}


class RegistryWatch(Service):
    """Reads the roster again and again, on a thread of its own: a database that does not answer
    keeps nobody waiting. `first`, where given, is seeded before it is read."""

    def __init__(
        self,
        url: str,
        busy_timeout_s: float,
        first: Mapping[str, CameraSettings] | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        self._url, self._busy_timeout_s = url, busy_timeout_s
        self._first, self._every_s = first, every_s
        self._found: dict[str, CameraSettings] | ServiceError | None = None
        self._known: list[tuple[str, CameraSettings, Origin]] = []
        self._stop = Event()
        self._thread = Thread(target=self._main, name="roster", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def __call__(self) -> dict[str, CameraSettings] | None:
        """What was read last, None at first; raises ServiceError where it could not be read."""
        if isinstance(self._found, ServiceError):
            raise self._found
        return self._found

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        if self._thread.ident:
            self._thread.join()

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                with using_store(self._url, self._busy_timeout_s) as engine:
                    self._watch(engine)
            except ServiceError as error:
                self._found = error
                self._stop.wait(self._every_s)

    def _watch(self, engine: Engine) -> None:
        """From here on the database was open once: one that is removed is not made at once."""
        while not self._stop.is_set():
            try:
                self._read(engine)
            except ServiceError as error:
                self._found = error
            self._stop.wait(self._every_s)

    def _read(self, engine: Engine) -> None:
        if self._first is not None:
            seed(engine, self._first)
            self._first = None
        is_new = renew(engine)
        if is_new and not roster(engine):
            # Made anew after its file was removed: it must not end every camera.
            for camera, settings, origin in self._known:
                enrol(engine, camera, settings, origin)
        self._known = _rows(engine)
        self._found = {camera: settings for camera, settings, _ in self._known}


def enrol(
    engine: Engine,
    camera: str,
    settings: CameraSettings,
    origin: Origin = "command",
    clock: Clock = wall_clock,
) -> None:
    """Put a camera on the roster, or change its settings.

    Raises ConfigError for an address with a credential in it, or that no camera can have.
    """
    check_address(camera, settings)
    with storing(engine) as connection:
        put_camera(connection, _row(camera, settings, origin, clock()))


def dismiss(engine: Engine, camera: str) -> bool:
    """Take a camera off the roster; its rows stay. False when it was not on it."""
    taken = (
        update(cameras)
        .where(cameras.c.camera == camera, cameras.c.settings.is_not(None))
        .values(settings=None, origin=None)
    )
    with storing(engine) as connection:
        return connection.execute(taken).rowcount > 0


def seed(engine: Engine, wanted: Mapping[str, CameraSettings], clock: Clock = wall_clock) -> None:
    """Make the roster's part that the configuration file speaks for what it says now.

    Cameras of `undercam cameras` stay, unless the file names them too: then the file counts.
    """
    for camera, settings in wanted.items():
        check_address(camera, settings)
    with storing(engine) as connection:
        _forget(connection, set(wanted))
        for camera, settings in sorted(wanted.items()):
            put_camera(connection, _row(camera, settings, "settings", clock()))


def check_address(camera: str, settings: CameraSettings) -> None:
    """Raise ConfigError when an address shows, or may show, a user, a password, a token or a key
    (see `may_hold_credential`), or cannot be read at all, as with an unknown scheme."""
    where = f"cameras.{camera}.url"
    fault = written_fault(settings.url)
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
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(cameras.c.camera)).all()
    return [(camera, _parsed(camera, said, engine), origin) for camera, said, origin in rows]


def _forget(connection: Connection, wanted: set[str]) -> None:
    gone = (
        update(cameras)
        .where(cameras.c.origin == "settings", cameras.c.camera.not_in(sorted(wanted)))
        .values(settings=None, origin=None)
    )
    connection.execute(gone)


def _row(camera: str, settings: CameraSettings, origin: Origin, now_ms: int) -> dict[str, object]:
    return {
        "camera": camera,
        "stored_ms": now_ms,
        "settings": settings.model_dump_json(),
        "origin": origin,
    }


def _parsed(camera: str, settings: str, engine: Engine) -> CameraSettings:
    try:
        return CameraSettings.model_validate_json(settings)
    except ValidationError as error:
        remedy = (
            f"`undercam cameras set {camera}` again with this version ({error.errors()[0]['msg']})"
        )
        raise ServiceError(
            f"settings of camera {camera} not readable", place(engine.url), remedy
        ) from error
