"""Signing in and out of the real pages, in a real browser."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from dashboard.launch import Dashboard, serve
from dashboard.sign_in.users import UsersFile
from pipeline.config import load

pytestmark = pytest.mark.needs("chromium")

PATIENCE_MS = 60_000
PASSWORD = "correct horse 7"


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> UsersFile:
    file = UsersFile(tmp_path_factory.mktemp("users") / "users")
    file.add("anna", "admin", PASSWORD)
    file.add("bert", "viewer", PASSWORD)
    return file


@pytest.fixture(scope="module")
def served(live_house: Any, users: UsersFile) -> Iterator[Dashboard]:
    wanted = {"port": 0, "refresh_s": 1, "users_file": str(users._path)}
    with serve(load(dashboard=wanted), live_house.url) as dashboard:
        yield dashboard


@pytest.fixture
def open_tab(chromium: Any) -> Iterator[Callable[..., Any]]:
    """A tab of a browser without cookies."""
    contexts = []

    def make(**settings: Any) -> Any:
        context = chromium.new_context(**settings)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()


def sign_in(tab: Any, name: str = "anna", password: str = PASSWORD) -> None:
    tab.get_by_label("Name").fill(name)
    tab.get_by_label("Password").fill(password)
    tab.get_by_role("button", name="Sign in").click()


def test_in_and_out(served: Dashboard, open_tab: Callable[..., Any]) -> None:
    tab = open_tab()
    tab.goto(f"{served.url}/tracks?window=1+h")
    assert tab.get_by_text("Undercam labels").count() == 0
    sign_in(tab, password="wrong password")
    assert tab.get_by_role("alert").inner_text() == "Name or password is wrong."
    assert tab.get_by_label("Name").input_value() == "anna"
    sign_in(tab)
    tab.locator("[data-key]").first.wait_for()
    assert tab.url == f"{served.url}/tracks?window=1+h"
    tab.reload()
    tab.locator("[data-key]").first.wait_for()
    assert tab.get_by_text("anna · admin").is_visible()
    other = tab.context.new_page()
    other.goto(served.url)
    other.get_by_text("Cameras online").wait_for()
    other.get_by_role("button", name="Sign out").click()
    other.get_by_label("Password").wait_for()
    # The first tab finds the form by itself.
    tab.get_by_label("Password").wait_for()
    tab.goto(f"{served.url}/tracks")
    tab.get_by_label("Password").wait_for()
    assert tab.get_by_text("Tracks found").count() == 0


def test_the_form_needs_no_script_and_is_legible(
    served: Dashboard, open_tab: Callable[..., Any]
) -> None:
    tab = open_tab(java_script_enabled=False)
    tab.goto(served.url)
    sign_in(tab, "bert")
    assert tab.url == f"{served.url}/"
    assert "Name or password" not in tab.content()
    assert [c["sameSite"] for c in tab.context.cookies()] == ["Strict"]


def test_a_viewer_changes_nothing(
    served: Dashboard, live_house: Any, users: UsersFile, open_tab: Callable[..., Any]
) -> None:
    """The pages offer nothing that writes, for they only read; nor does their server, whatever is
    sent with a viewer's session."""

    def stored() -> tuple[list[str], bytes]:
        with closing(sqlite3.connect(live_house.url.removeprefix("sqlite:///"))) as database:
            return list(database.iterdump()), users._path.read_bytes()

    before = stored()
    tab = open_tab()
    tab.goto(served.url)
    sign_in(tab, "bert")
    tab.get_by_text("bert · viewer").wait_for()
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in tab.context.cookies())
    paths = ("", "tracks", "v1/erasures", "v1/cameras/door", "_stcore/upload_file/a/b")
    for path in paths:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert refused(f"{served.url}/{path}", method, Cookie=cookie) >= 400, (method, path)
    assert stored() == before


def test_a_viewer_whose_account_is_removed(
    served: Dashboard, users: UsersFile, open_tab: Callable[..., Any]
) -> None:
    users.add("carl", "viewer", PASSWORD)
    tab = open_tab()
    tab.goto(served.url)
    sign_in(tab, "carl")
    tab.get_by_text("carl · viewer").wait_for()
    users.remove("carl")
    tab.get_by_label("Password").wait_for()


def test_a_link_from_another_site(served: Dashboard, open_tab: Callable[..., Any]) -> None:
    """Its first request has no cookie, for it is SameSite=Strict; the user notices nothing."""
    tab = open_tab()
    tab.goto(served.url)
    sign_in(tab)
    tab.get_by_text("Cameras online").wait_for()
    other = served.url.replace("127.0.0.1", "wiki.example.org")
    tab.route(
        f"{other}/**",
        lambda route: route.fulfill(
            body=f"<a href='{served.url}/about'>x</a>", content_type="text/html"
        ),
    )
    tab.goto(f"{other}/page")
    tab.get_by_role("link").click()
    tab.get_by_role("heading", name="About", level=1).wait_for()


def refused(url: str, method: str = "GET", **headers: str) -> int:
    try:
        with urlopen(Request(url, headers=headers, method=method), timeout=30) as reply:
            return int(reply.status)
    except HTTPError as error:
        with error:
            return error.code


def test_the_server_gives_nothing_away(served: Dashboard) -> None:
    for path in ("/", "/index.html", "/_stcore/host-config", "/_stcore/metrics", "/static/"):
        for cookie in ("", "undercam_session=forged"):
            assert refused(served.url + path, Cookie=cookie) == 401
    assert refused(f"{served.url}/_stcore/health") == 200
    stream = served.url.replace("http", "ws") + "/_stcore/stream"
    for headers in ({}, {"Cookie": "undercam_session=forged"}, {"X-Undercam-Role": "admin"}):
        with pytest.raises(InvalidStatus, match="403"), connect(stream, additional_headers=headers):
            pass


@pytest.mark.slow
def test_passwords_are_nowhere_in_clear(
    live_house: Any, users: UsersFile, tmp_path: Path, open_tab: Callable[..., Any]
) -> None:
    """Not in arguments, environment or output of the server, and not in what the pages send."""
    script = (
        "import sys\nfrom dashboard.launch import serve\nfrom pipeline.config import load\n"
        "with serve(load(dashboard={'port': 0, 'users_file': sys.argv[1], 'host': '0.0.0.0'}),"
        " sys.argv[2]) as served:\n"
        "    print(served.url, served._process.pid, flush=True)\n    sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(users._path), live_house.url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        url, pid = parent.stdout.readline().split()
        tab = open_tab()
        tab.goto(url)
        sign_in(tab, password="another secret")
        sign_in(tab)
        tab.get_by_text("These pages are open to the network without TLS").wait_for()
        tab.get_by_text("Cameras online").wait_for()
        process = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        page = tab.content()
        out, err = parent.communicate("")
    seen = b"".join(process).decode() + page + out + err
    seen += "".join(
        p.read_bytes().decode("utf-8", "replace")
        for p in Path(live_house.url[10:]).parent.iterdir()
    )
    hashes = [account.password_hash for account in users.accounts().values()]
    assert [s for s in (PASSWORD, "another secret", *hashes) if s in seen] == []
    assert err.splitlines() == [
        "undercam: the pages are open to the network without TLS: 0.0.0.0: set "
        "dashboard.certificate or dashboard.tls_by_proxy"
    ]
    assert b"sqlite:" in process[1], "the environment was not read"
