"""Sign-in, before Streamlit: who has not signed in gets the form, and neither pages nor data.

Enforced here and not in the pages, because Streamlit serves its files, its uploads and its
WebSocket before any page runs.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.sign_in.form import FINISH, SIGN_IN, SIGN_OUT, START, show_form, show_redirect
from dashboard.sign_in.sessions import Attempts, Sessions
from dashboard.sign_in.users import SignInRefused, User, UsersFile
from pipeline.errors import InputError
from pipeline.http_settings import DashboardSettings

if TYPE_CHECKING:
    from dashboard.sign_in.provider import Provider

COOKIE = "undercam_session"
USER_HEADER, ROLE_HEADER = "x-undercam-user", "x-undercam-role"
"""How the pages learn who has signed in; taken from every request that brings them along."""
HEALTH = "_stcore/health"
"""Open: it says `ok` to who starts or watches the server."""
THEN = re.compile(r"[a-z]*(\?[!-~]{0,1000})?")
"""A page with its parameters, to go to after sign-in: never another site."""
MAX_BODY = 8_192
POLICY_VIOLATION = 1008


class SignIn:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: DashboardSettings) -> None:
        self._app, self._settings = app, settings
        self._base = settings.base_path.strip("/")
        self._users = UsersFile(settings.users_file) if settings.users_file else None
        self._provider: Provider | None = None
        if settings.oidc.metadata_url:
            from dashboard.sign_in.provider import Provider  # its libraries are of use here only

            self._provider = Provider(settings.oidc, self._answer_provider)
        self._sessions = Sessions(settings.session_hours * 3600)
        self._attempts = Attempts()
        self._check = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers itself, refuses, or passes on to Streamlit."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope = dict(scope, headers=_without_user(scope["headers"]))
        path = self._path(scope)
        is_http = scope["type"] == "http"
        if not self._settings.has_sign_in or (is_http and path == HEALTH):
            await self._app(scope, receive, send)
        elif is_http and self._provider and path in (START, FINISH):
            await self._provider(scope, receive, send)
        elif is_http and path in (SIGN_IN, SIGN_OUT):
            request = Request(scope, receive)
            response = await (self._sign_in if path == SIGN_IN else self._sign_out)(request)
            await response(scope, receive, send)
        elif user := self._find_user(HTTPConnection(scope)):
            await self._pass_on(scope, receive, send, user)
        elif is_http:
            await self._refuse(Request(scope), path)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})

    def _path(self, scope: Scope) -> str:
        """The path below `base_path`; one that is not below it is returned whole."""
        path: str = scope["path"]
        prefix = f"/{self._base}/" if self._base else "/"
        return path[len(prefix) :] if path.startswith(prefix) else path

    @property
    def _root(self) -> str:
        # Relative where a proxy may strip a path that nobody tells us.
        return f"/{self._base}/" if self._base else ""

    def _find_user(self, connection: HTTPConnection) -> User | None:
        try:
            return self._sessions.find(connection.cookies.get(COOKIE, ""))
        except InputError:  # nobody is known while the users file cannot be read
            return None

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, user: User) -> None:
        headers = MutableHeaders(scope=scope)
        headers[USER_HEADER], headers[ROLE_HEADER] = quote(user.name, safe="@"), user.role
        if scope["type"] == "http":
            await self._app(scope, receive, send)
            return
        is_closed = False

        async def receive_checked() -> Message:
            # Pages are drawn when the browser asks: a session that has ended gets no more data.
            nonlocal is_closed
            message = await receive()
            if message["type"] == "websocket.receive" and self._find_user(connection) != user:
                is_closed = True
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
                message = {"type": "websocket.disconnect", "code": POLICY_VIOLATION}
            return message

        async def send_open(message: Message) -> None:
            if not is_closed:
                await send(message)

        connection = HTTPConnection(scope)
        await self._app(scope, receive_checked, send_open)

    def _refuse(self, request: Request, path: str) -> Response:
        is_page = request.method in ("GET", "HEAD") and "text/html" in request.headers.get(
            "accept", ""
        )
        if not is_page:
            return PlainTextResponse("sign in first\n", 401, {"Cache-Control": "no-store"})
        then = _check_then(f"{path}?{request.url.query}" if request.url.query else path)
        if request.headers.get("sec-fetch-site") == "cross-site":
            return show_redirect(self._root + then or "./")
        root = self._root or "../" * path.count("/")
        return RedirectResponse(f"{root}{SIGN_IN}?next={quote(then)}", 303)

    async def _sign_in(self, request: Request) -> Response:
        if request.method != "POST" or self._users is None:
            if self._find_user(request):
                return RedirectResponse(self._root or "./", 303)
            return self._form(_check_then(request.query_params.get("next", "")))
        fields = await _read_fields(request)
        name, then = fields.get("name", "")[:64], _check_then(fields.get("next", ""))
        if not _is_own(request):
            return self._form(then, message="The form was sent from another site.", status=403)
        keys = (f"name {name}", f"address {request.client.host if request.client else ''}")
        # One at a time: a thousand attempts at once would all find that none had failed yet.
        async with self._check:
            if wait_s := self._attempts.wait_s(*keys):
                seconds = int(wait_s) + 1
                message = f"Too many attempts. Try again in {seconds}\N{NO-BREAK SPACE}s."
                response = self._form(then, message=message, name=name, status=429)
                response.headers["Retry-After"] = str(seconds)
                return response
            try:
                password = fields.get("password", "")
                account = await run_in_threadpool(self._users.check, name, password)
            except InputError:
                message = "Nobody can sign in: the users file cannot be read."
                return self._form(then, message=message, name=name, status=503)
            if account is None:
                self._attempts.add(*keys)
                message = "Name or password is wrong."
                return self._form(then, message=message, name=name, status=401)
        self._attempts.forget(keys[0])
        response = RedirectResponse(self._root + then or "./", 303)
        find_user = partial(self._users.find, name, account.password_hash)
        self._set_cookie(request, response, self._sessions.open(find_user))
        return response

    async def _sign_out(self, request: Request) -> Response:
        if request.method != "POST" or not _is_own(request):
            return RedirectResponse(self._root or "./", 303)
        self._sessions.close(request.cookies.get(COOKIE, ""))
        response = RedirectResponse(f"{self._root}{SIGN_IN}", 303)
        self._set_cookie(request, response, "")
        return response

    async def _answer_provider(self, request: Request) -> Response:
        assert self._provider
        try:
            if self._path(request.scope) == START:
                then = _check_then(request.query_params.get("next", ""))
                return await self._provider.start(request, then)
            find_user, then = await self._provider.finish(request)
        except SignInRefused as error:
            return self._form("", message=str(error), status=403)
        response = show_redirect(self._root + _check_then(then) or "./")
        self._set_cookie(request, response, self._sessions.open(find_user))
        return response

    def _form(self, then: str, message: str = "", name: str = "", status: int = 200) -> Response:
        has_users = self._users is not None
        if self._users and not message and not self._count_users():
            message = "No user exists yet: make one with “undercam users add”."
        notice = self._settings.find_exposure()
        return show_form(
            self._root,
            then,
            message=message,
            name=name,
            has_users=has_users,
            has_provider=self._provider is not None,
            notice=f"These pages are {notice}." if notice else "",
            status=status,
        )

    def _count_users(self) -> int:
        try:
            return len(self._users.accounts()) if self._users else 0
        except InputError:  # said when somebody tries
            return 1

    def _set_cookie(self, request: Request, response: Response, token: str) -> None:
        """A new session's cookie, or with "" the end of one; ends the old one of this browser."""
        self._sessions.close(request.cookies.get(COOKIE, ""))
        response.set_cookie(
            COOKIE,
            token,
            max_age=round(self._settings.session_hours * 3600) if token else 0,
            # None: the folder of this request, which only the browser knows behind some proxies.
            path=f"/{self._base}" if self._base else None,
            secure=self._settings.has_tls or request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )


def _without_user(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    ours = (USER_HEADER.encode(), ROLE_HEADER.encode())
    return [(name, value) for name, value in headers if name.lower() not in ours]


def _check_then(then: str) -> str:
    return then if THEN.fullmatch(then) else ""


def _is_own(request: Request) -> bool:
    """Whether a POST comes from a page of this server: every browser says where it comes from, and
    what is no browser cannot be tricked into sending one."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    return urlsplit(origin).netloc == request.headers.get("host")


async def _read_fields(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return {}
    return dict(parse_qsl(body.decode("utf-8", "replace")))
