"""What the sign-in lets through to Streamlit, request by request; a small application stands in for
it. tests/dashboard/test_signed_in_pages.py has the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from dashboard.sign_in.middleware import COOKIE, SignIn
from dashboard.sign_in.users import UsersFile
from pipeline.config import load

PASSWORD = "correct horse 7"
HTML = {"accept": "text/html,*/*"}
HOST = {"host": "cameras.example.org"}


@dataclass
class Reply:
    """One response."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    @property
    def token(self) -> str:
        return self.header("set-cookie").partition(f"{COOKIE}=")[2].partition(";")[0]


class Site:
    """The middleware, and the scopes that it passed on."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.users = UsersFile(folder / "users")
        self.users.add("anna", "admin", PASSWORD)
        self.users.add("bert", "viewer", PASSWORD)
        wanted = {"users_file": str(folder / "users")} | settings
        self.passed: list[Any] = []
        self.middleware = SignIn(self._page, load(dashboard=wanted).dashboard)

    async def _page(self, scope: Any, receive: Any, send: Any) -> None:
        self.passed.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"THE PAGES"})
            return
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": "DATA"})
        await send({"type": "websocket.send", "text": "LATE"})

    def ask(
        self,
        path: str,
        token: str = "",
        headers: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
        method: str = "",
        scheme: str = "http",
    ) -> Reply:
        reply = Reply()
        body = [{"type": "http.request", "body": urlencode(form or {}).encode()}]

        async def receive() -> Any:
            return body.pop()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = [(k.decode(), v.decode()) for k, v in message["headers"]]
            else:
                reply.body += message.get("body", b"").decode()

        scope = self._scope("http", path, token, headers or {}) | {
            "method": method or ("GET" if form is None else "POST"),
            "scheme": scheme,
        }
        asyncio.run(self.middleware(scope, receive, send))
        return reply

    def listen(self, token: str, between: Callable[[], object] = lambda: None) -> list[Any]:
        """What a WebSocket gets: asked for twice, with something happening in between."""
        asked: list[Any] = [{"type": "websocket.receive", "text": "draw"} for _ in range(2)]
        asked.append({"type": "websocket.disconnect", "code": 1000})
        sent: list[Any] = []

        async def receive() -> Any:
            if len(asked) == 2:
                between()
            return asked.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(
            self.middleware(self._scope("websocket", "/_stcore/stream", token, {}), receive, send)
        )
        return [m.get("text") or m.get("code") or m["type"].partition(".")[2] for m in sent]

    def _scope(self, kind: str, path: str, token: str, headers: dict[str, str]) -> dict[str, Any]:
        path, _, query = path.partition("?")
        everything = HOST | ({"cookie": f"{COOKIE}={token}"} if token else {}) | headers
        return {
            "type": kind,
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in everything.items()],
            "client": ("10.0.0.7", 1234),
            "server": ("10.0.0.1", 80),
        }

    def sign_in(self, name: str = "anna", password: str = PASSWORD, **keys: Any) -> Reply:
        fields = {"name": name, "password": password, "next": keys.pop("then", "")}
        return self.ask(keys.pop("path", "/sign-in"), form=fields, **keys)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


CLOSED = (
    *("/", "/tracks", "/static/js/index.js", "/_stcore/host-config", "/media/x.png", "/about/"),
    *("/component/x", "//_stcore/health", "/_stcore/health/", "/_stcore/healthz", "/sign-in/"),
    *("/_stcore/health/../host-config", "/sign-in/../tracks", "/SIGN-IN", "/sign-in-start"),
    *("/sign-in-done", "/auth/login", "/oauth2callback", "/favicon.png", "", "/\\sign-in"),
)


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("token", ["", "forged"])
def test_nothing_without_a_session(site: Site, path: str, token: str) -> None:
    assert site.ask(path, token).status == 401
    assert site.ask(path, token, HTML).status == 303
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert site.ask(path, token, HTML, method=method).status == 401
    assert site.passed == []


def test_no_data_without_a_session(site: Site) -> None:
    for token in ("", "forged"):
        assert site.listen(token) == [1008]
    assert site.passed == []


def test_only_health_is_open(site: Site) -> None:
    assert site.ask("/_stcore/health").body == "THE PAGES"


def test_without_sign_in_everything_is_open_and_nobody_is_a_user(tmp_path: Path) -> None:
    site = Site(tmp_path, users_file="")
    forged = {"X-Undercam-User": "anna", "x-undercam-role": "admin"}
    assert site.ask("/", headers=forged).body == "THE PAGES"
    assert site.listen("") == ["accept", "DATA", "DATA", "LATE"]
    assert not any(b"undercam" in key.lower() for s in site.passed for key, _ in s["headers"])


@pytest.mark.parametrize(("name", "role"), [("anna", "admin"), ("bert", "viewer")])
def test_the_pages_know_the_user(site: Site, name: str, role: str) -> None:
    token = site.sign_in(name).token
    forged = {"X-Undercam-User": "eve", "X-UNDERCAM-ROLE": "admin", "x-undercam-role": "admin"}
    assert site.ask("/", token, forged).body == "THE PAGES"
    headers = [(k.lower(), v) for k, v in site.passed[0]["headers"] if b"undercam-" in k.lower()]
    assert headers == [
        (b"x-undercam-user", name.encode()),
        (b"x-undercam-role", role.encode()),
    ]


def test_the_cookie(site: Site) -> None:
    reply = site.sign_in()
    assert (reply.status, reply.header("location")) == (303, "./")
    attributes = {a.strip().lower() for a in reply.header("set-cookie").split(";")[1:]}
    assert attributes == {"httponly", "samesite=strict", "max-age=43200"}
    assert len(reply.token) >= 43
    assert PASSWORD not in str(reply)
    assert "Secure" in site.sign_in(scheme="https").header("set-cookie")


def test_the_cookie_behind_a_proxy_and_under_a_path(tmp_path: Path) -> None:
    site = Site(tmp_path, base_path="/a/cams", tls_by_proxy=True)
    assert site.ask("/a/cams", headers=HTML).header("location") == "/a/cams/sign-in?next="
    reply = site.ask("/a/cams/tracks?only=hall", headers=HTML)
    assert reply.header("location") == "/a/cams/sign-in?next=tracks%3Fonly%3Dhall"
    reply = site.sign_in(path="/a/cams/sign-in", then="tracks?only=hall")
    assert reply.header("location") == "/a/cams/tracks?only=hall"
    assert "; Path=/a/cams;" in reply.header("set-cookie")
    assert "; Secure" in reply.header("set-cookie")
    assert site.ask("/a/cams/", reply.token).body == "THE PAGES"
    assert site.ask("/a/cams/_stcore/health").body == "THE PAGES"
    assert site.ask("/_stcore/health").status == 401
    assert site.ask("/sign-in", headers=HTML).status == 303


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/", "sign-in?next="),
        ("/tracks", "sign-in?next=tracks"),
        ("/tracks?only=hall&window=1+h", "sign-in?next=tracks%3Fonly%3Dhall%26window%3D1%2Bh"),
        ("/a/b", "../sign-in?next="),
        ("//evil.example.org/x", "../../sign-in?next="),
    ],
)
def test_the_form_is_found_under_any_path(site: Site, path: str, location: str) -> None:
    assert site.ask(path, headers=HTML).header("location") == location


@pytest.mark.parametrize(
    "then",
    ["//evil.example.org", "https://evil.example.org", "/tracks", "javascript:x", "a\r\nB: c", "é"],
)
def test_sign_in_leads_to_our_pages_only(site: Site, then: str) -> None:
    assert site.sign_in(then=then).header("location") == "./"
    assert "evil" not in site.ask(f"/sign-in?{urlencode({'next': then})}").body


def test_the_form(site: Site) -> None:
    reply = site.ask("/sign-in?next=tracks")
    assert reply.status == 200
    for part in ('<label for="name">', 'action="sign-in"', 'name="next" value="tracks"', "<h1>"):
        assert part in reply.body
    assert "<script" not in reply.body
    assert "default-src 'none'" in reply.header("content-security-policy")
    assert reply.header("cache-control") == "no-store"


def test_a_wrong_password(site: Site) -> None:
    for name, password in (("anna", "wrong password"), ("<b>eve", PASSWORD), ("", "")):
        reply = site.sign_in(name, password)
        assert reply.status == 401
        assert "Name or password is wrong." in reply.body
        assert reply.token == ""
        assert "<b>" not in reply.body
        assert "wrong password" not in reply.body


def test_attempts_slow_down(site: Site) -> None:
    for _ in range(5):
        assert site.sign_in(password="wrong password").status == 401
    reply = site.sign_in()
    assert reply.status == 429
    assert "Too many attempts. Try again in 1\N{NO-BREAK SPACE}s." in reply.body
    assert reply.header("retry-after") == "1"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://cameras.example.org"}, 303),
        ({"origin": "https://evil.example.org"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 303),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_only_our_own_form_signs_in_and_out(
    site: Site, headers: dict[str, str], status: int
) -> None:
    reply = site.sign_in(headers=headers)
    assert (reply.status, reply.token != "") == (status, status == 303)
    token = site.sign_in().token
    assert site.ask("/sign-out", token, headers, form={}).status == 303
    assert site.ask("/", token).status == (401 if status == 303 else 200)


def test_a_long_body_is_not_read(site: Site) -> None:
    assert site.sign_in("x" * 10_000).status == 401


def test_sign_out(site: Site) -> None:
    token = site.sign_in().token
    assert site.ask("/sign-out", token).header("location") == "./"
    assert site.ask("/", token).body == "THE PAGES"
    reply = site.ask("/sign-out", token, form={})
    assert reply.header("location") == "sign-in"
    assert "Max-Age=0" in reply.header("set-cookie")
    assert site.ask("/", token).status == 401
    assert site.listen(token) == [1008]


def test_signing_in_again_ends_the_old_session(site: Site) -> None:
    first = site.sign_in().token
    assert site.ask("/sign-in", first).header("location") == "./"
    second = site.sign_in("bert", token=first).token
    assert site.ask("/", first).status == 401
    assert site.ask("/", second).status == 200


def test_a_session_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path, session_hours=1)
    token = site.sign_in().token
    now_s = 1e10
    monkeypatch.setattr(site.middleware._sessions, "_clock", lambda: now_s)
    assert site.ask("/", token).status == 401
    assert site.listen(token) == [1008]


CHANGES: dict[str, Callable[[Site], object]] = {
    "removed": lambda site: site.users.remove("anna"),
    "another password": lambda site: site.users.add("anna", "admin", "another password"),
    "another role": lambda site: site.users.add("anna", "viewer", "another password"),
    "no file": lambda site: site.users._path.unlink(),
    "an unreadable file": lambda site: site.users._path.write_text("what?"),
    "signed out": lambda site: site.middleware._sessions._sessions.clear(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_session_ends_with_its_user_also_on_an_open_socket(
    site: Site, change: Callable[[Site], object]
) -> None:
    token = site.sign_in().token
    assert site.listen(token) == ["accept", "DATA", "DATA", "LATE"]
    assert site.listen(token, lambda: change(site)) == ["accept", "DATA", 1008]
    assert site.ask("/", token).status == 401


def test_a_new_role_with_the_same_password_reconnects(site: Site) -> None:
    token = site.sign_in("bert").token

    def promote() -> None:
        text = site.users._path.read_text().replace("bert viewer", "bert admin")
        site.users._path.write_text(text)

    assert site.listen(token, promote) == ["accept", "DATA", 1008]
    assert site.listen(token) == ["accept", "DATA", "DATA", "LATE"]
    assert (b"x-undercam-role", b"admin") in site.passed[-1]["headers"]


def test_a_link_from_another_site_is_followed_once_more(site: Site) -> None:
    """The browser kept the cookie back: it brings it when our own page sends it on."""
    reply = site.ask("/tracks?only=hall", headers=HTML | {"sec-fetch-site": "cross-site"})
    assert reply.status == 200
    assert 'content="0;url=tracks?only=hall"' in reply.body
    assert site.passed == []


def test_a_file_that_cannot_be_read(site: Site) -> None:
    site.users._path.write_text("what?")
    reply = site.sign_in()
    assert reply.status == 503
    assert "Nobody can sign in: the users file cannot be read." in reply.body
    assert str(site.users._path) not in reply.body
    assert site.ask("/sign-in").status == 200


def test_no_user_yet(site: Site) -> None:
    site.users._path.unlink()
    assert "No user exists yet" in site.ask("/sign-in").body
    assert site.sign_in().status == 401


def test_an_open_listener_says_so_on_the_form(tmp_path: Path) -> None:
    site = Site(tmp_path, host="0.0.0.0")
    assert "These pages are open to the network without TLS." in site.ask("/sign-in").body


def test_attempts_at_once_are_not_many_guesses(site: Site) -> None:
    async def guess() -> int:
        body = [{"type": "http.request", "body": b"name=anna&password=wrong+password"}]
        statuses: list[int] = []

        async def receive() -> Any:
            return body.pop()

        async def send(message: Any) -> None:
            statuses.append(message.get("status", 0))

        scope = site._scope("http", "/sign-in", "", {}) | {"method": "POST", "scheme": "http"}
        await site.middleware(scope, receive, send)
        return statuses[0]

    async def guess_often() -> list[int]:
        return await asyncio.gather(*(guess() for _ in range(12)))

    assert sorted(asyncio.run(guess_often())) == [401] * 5 + [429] * 7
