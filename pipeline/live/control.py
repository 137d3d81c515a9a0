"""The server of the control interface: JSON over HTTP, by which cameras are changed while a
supervisor works. Every request needs the token; what there is to request: `control_api`.
"""

from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import Callable
from threading import Thread
from urllib.parse import urlsplit

import uvicorn
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.closing import Service
from pipeline.config import Settings
from pipeline.control_client import ControlAddress, read_token
from pipeline.errors import ConfigError, ServiceError
from pipeline.http_settings import EVERY_ADDRESS, LOOPBACK
from pipeline.live.control_api import ControlApi, build_app, describe_error
from pipeline.live.engine import State

MAX_CONNECTIONS = 64
STOP_S, JOIN_S = 1, 2.0
"""Seconds that requests may take to end when the server closes, and the server itself."""


class ControlServer(Service):
    """Serves the interface in a thread of its own.

    `machine_address`: where other machines reach this one, for a `control.host` that means all of
    its addresses; by default its loopback. `state` is the supervisor's.
    """

    def __init__(
        self, settings: Settings, state: Callable[[], State], machine_address: str = ""
    ) -> None:
        self.address = ControlAddress()
        self._settings, self._state = settings, state
        self._machine_address = machine_address
        self._server: uvicorn.Server | None = None
        self._thread: Thread | None = None

    def start(self) -> None:
        """Listen, and start the thread.

        Raises ServiceError where the port is taken, ConfigError for a token or a certificate that
        cannot be used.
        """
        control = self._settings.control
        token = read_token(control) or secrets.token_hex(32)
        api = ControlApi(self._settings, self._state)
        names = set(LOOPBACK) if control.host in LOOPBACK else None
        self._server = uvicorn.Server(self._configure(TokenGate(build_app(api), token, names)))
        listener = self._listen()
        host = EVERY_ADDRESS.get(control.host, control.host)
        if control.host in EVERY_ADDRESS and self._machine_address:
            host = self._machine_address
        place = f"[{host}]" if ":" in host else host
        url = f"http{'s' * bool(control.certificate)}://{place}:{listener.getsockname()[1]}"
        self.address = ControlAddress(url, token, socket.gethostname())
        self._thread = Thread(
            target=self._server.run, args=([listener],), name="control", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Take no more requests, and end those that are at work within a second."""
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join(JOIN_S)
        self.address = ControlAddress()

    def _configure(self, app: ASGIApp) -> uvicorn.Config:
        control = self._settings.control
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            workers=1,  # whatever WEB_CONCURRENCY is
            # No log: a request may hold the address of a camera.
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=STOP_S,
            ssl_certfile=control.certificate or None,
            ssl_keyfile=control.key or None,
            # Without one, OpenSSL would request the password of an encrypted key on the terminal.
            ssl_keyfile_password="none",
        )
        try:
            config.load()
        except OSError as error:
            remedy = f"give PEM files, of a key without a password ({error.strerror or error})"
            place = control.certificate
            raise ConfigError("certificate or key cannot be used", place, remedy) from None
        return config

    def _listen(self) -> socket.socket:
        where = self._settings.control
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        try:
            return socket.create_server((where.host, where.port), family=family)
        except OSError as error:
            what = f"the control interface cannot be served ({error.strerror})"
            place = f"{where.host}:{where.port}"
            raise ServiceError(what, place, "choose another control.port") from error


class TokenGate:
    """Lets requests through to an app that bring the token, and name one of the hosts if any are
    given: a web page may point its own host name at this machine (DNS rebinding)."""

    def __init__(self, app: ASGIApp, token: str, hosts: set[str] | None) -> None:
        self._app, self._hosts = app, hosts
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or refuse it before its body is read."""
        refusal = self._find_refusal(Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send)

    def _find_refusal(self, headers: Headers) -> Response | None:
        if self._hosts and _host_in(headers.get("host", "")) not in self._hosts:
            remedy = "use 127.0.0.1 or localhost"
            return describe_error(400, ConfigError("not a name of this machine", "Host", remedy))
        scheme, _, token = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(token.strip().encode(), self._token)
        if scheme.lower() == "bearer" and is_right:
            return None
        remedy = "send the token of this `undercam run` as Authorization: Bearer TOKEN"
        refusal = describe_error(
            401, ConfigError("token missing or wrong", "Authorization", remedy)
        )
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal


def _host_in(header: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
