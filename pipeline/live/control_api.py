"""The resources of the control interface: cameras, dead letters, and the health of all of it.

A resource is one line of `ControlApi.routes` and one method. Errors are {"what", "where",
"remedy"}, as a command prints them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.clock import wall_clock
from pipeline.config import Settings, resolve
from pipeline.control_client import API
from pipeline.erasure import make_erasure
from pipeline.errors import ConfigError, ServiceError, UndercamError
from pipeline.live.engine import State
from pipeline.redact import redact
from pipeline.store.engine import use_store
from pipeline.store.erasures import erase, read_cameras
from pipeline.store.replay import replay_newer
from pipeline.store.stored_cameras import AlreadyRegistered, NotRegistered, StoredCameras
from pipeline.store.writer import StoreWriter

MAX_BODY = 65_536
"""Largest body of a request, in bytes."""
STATUS = ((NotRegistered, 404), (AlreadyRegistered, 409), (ConfigError, 400), (ServiceError, 503))
HTTP_ERRORS = {404: "no such resource", 405: "method not allowed", 413: "body too large"}
REMEDY = "see docs/decisions/0022-control-interface.md"


@dataclass(frozen=True)
class Call:
    """A request: the camera that its path names, the values in its body, and whether the camera
    must be a new one."""

    camera: str
    values: dict[str, Any]
    is_new: bool


class ControlApi:
    """What the interface does, a method for each resource.

    The database is opened for each request, as by a command: it may be away, or be replaced.
    """

    def __init__(self, settings: Settings, state: Callable[[], State]) -> None:
        self._settings, self._state = settings, state

    def routes(self) -> list[Route]:
        """Every resource and method."""
        return [
            _route("GET", "/health", self.read_health),
            _route("GET", "/cameras", self.list_cameras),
            _route("PUT", "/cameras/{name}", self.put_camera),
            _route("PATCH", "/cameras/{name}", self.change_camera),
            _route("DELETE", "/cameras/{name}", self.remove_camera),
            _route("POST", "/dead-letters/replay", self.replay_dead_letters),
            _route("POST", "/erasures", self.erase),
        ]

    def read_health(self, call: Call) -> Response:
        """The state of every camera, the events in all outboxes, and what keeps those there."""
        state = self._state()
        relays = state.relays.values()
        faults = (state.trouble, *(relay.fault for relay in relays if not relay.elsewhere))
        return JSONResponse(
            {
                "cameras": {camera: report.state for camera, report in state.cameras.items()},
                "waiting": sum(relay.waiting for relay in relays),
                "fault": redact("; ".join(sorted({fault for fault in faults if fault}))),
            }
        )

    def list_cameras(self, call: Call) -> Response:
        """Every registered camera with its settings and its state."""
        with self._open_cameras() as cameras:
            return JSONResponse({"cameras": cameras.overview()})

    def put_camera(self, call: Call) -> Response:
        """Register a camera, or replace all its settings; with `?new=true` a new one only."""
        with self._open_cameras() as cameras:
            is_new, settings = cameras.put(call.camera, call.values, call.is_new)
        reply = {"camera": call.camera, "is_new": is_new, "settings": settings}
        return JSONResponse(reply, 201 if is_new else 200)

    def change_camera(self, call: Call) -> Response:
        """Change the settings that the body names."""
        with self._open_cameras() as cameras:
            before, after = cameras.change(call.camera, call.values)
        return JSONResponse({"camera": call.camera, "before": before, "settings": after})

    def remove_camera(self, call: Call) -> Response:
        """Unregister a camera."""
        with self._open_cameras() as cameras:
            cameras.remove(call.camera)
        return JSONResponse({"camera": call.camera})

    def replay_dead_letters(self, call: Call) -> Response:
        """Store the dead letters that this release can read."""
        batch_rows = self._settings.store.batch_rows
        with self._open_store() as engine:
            replayed = replay_newer(StoreWriter(engine, batch_rows=batch_rows))
        return JSONResponse({"replayed": replayed})

    def erase(self, call: Call) -> Response:
        """Erase one track, or what a camera or all cameras captured up to a time, for ever."""
        if unknown := call.values.keys() - {"track", "camera", "before_ms"}:
            remedy = "give track, camera or before_ms"
            raise ConfigError(f"unknown key {min(unknown)!r}", "erasure", remedy)
        erasure = make_erasure(wall_clock(), **call.values)
        with self._open_store() as engine:
            cameras = read_cameras(engine)
            reply = {"erasure": asdict(erasure), "counts": asdict(erase(engine, erasure))}
        return JSONResponse(reply | {"cameras": cameras})

    @contextmanager
    def _open_cameras(self) -> Iterator[StoredCameras]:
        with self._open_store() as engine:
            yield StoredCameras(engine, self._settings)

    def _open_store(self) -> AbstractContextManager[Any]:
        store = self._settings.store
        return use_store(resolve(store.url), store.busy_timeout_s)


def build_app(api: ControlApi) -> Starlette:
    """The interface, without a check of who asks."""
    return Starlette(routes=api.routes(), exception_handlers={HTTPException: _describe_http})


def _route(method: str, path: str, work: Callable[[Call], Response]) -> Route:
    """`work` runs in a thread: it may wait for the database."""

    async def answer(request: Request) -> Response:
        try:
            values = await _read_values(request) if method in ("PUT", "PATCH", "POST") else {}
            is_new = request.query_params.get("new") == "true"
            call = Call(request.path_params.get("name", ""), values, is_new)
            return await run_in_threadpool(work, call)
        except UndercamError as error:
            status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
            return describe_error(status, error)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - its text may hold what nobody should read
            what = f"unexpected error: {type(error).__name__}"
            return describe_error(500, ServiceError(what, f"{method} {API}{path}", "report it"))

    return Route(f"{API}{path}", answer, methods=[method])


async def _read_values(request: Request) -> dict[str, Any]:
    """The object in the body; {} where there is no body."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise HTTPException(413)
    try:
        values = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ConfigError("not a JSON object", "body", "send the settings by their names")
    return values


async def _describe_http(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = HTTP_ERRORS.get(status, "refused")
    response = describe_error(status, ConfigError(what, redact(request.url.path), REMEDY))
    response.headers.update(getattr(error, "headers", None) or {})
    return response


def describe_error(status: int, error: UndercamError) -> Response:
    """The answer for an error."""
    return JSONResponse({"what": error.what, "where": error.where, "remedy": error.remedy}, status)
