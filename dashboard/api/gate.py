"""ASGI middleware before the sign-in: what is below `api/` needs the token and goes to the API."""

from __future__ import annotations

import hmac

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.config import Settings
from pipeline.control_client import resolve_token

PREFIX = "api/"
"""Below `dashboard.base_path`."""


class ApiGate:
    """Answers requests of the API itself and passes the others on.

    The token is demanded before anything is parsed. Without `dashboard.api_token` there is no API.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        base = settings.dashboard.base_path.strip("/")
        self._app = app
        self._prefix = f"/{base}/{PREFIX}" if base else f"/{PREFIX}"
        self._token = resolve_token(settings.dashboard.api_token, "the API")
        self._api: ASGIApp | None = None
        if self._token:
            from dashboard.api.app import build_api  # FastAPI is of use here only

            self._api = build_api(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, answers, or passes on."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
        elif self._api is None:
            error = _describe("there is no API", "dashboard.api_token", "set it to a reference")
            await JSONResponse(error, 404)(scope, receive, send)
        elif not self._is_authorised(scope):
            error = _describe("no or a wrong token", "Authorization", "send `Bearer TOKEN`")
            refusal = JSONResponse(error, 401, {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
        else:
            root = self._prefix.rstrip("/")
            inner = dict(scope, root_path=scope.get("root_path", "") + root)
            await self._api(inner, receive, send)

    def _is_authorised(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, f"Bearer {self._token}".encode())


def _describe(what: str, where: str, remedy: str) -> dict[str, str]:
    return {"what": what, "where": where, "remedy": remedy}
