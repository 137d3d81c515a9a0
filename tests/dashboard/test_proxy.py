"""The pages behind a real nginx, as docs/guides/nginx.md sets it up, in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dashboard.launch import serve
from dashboard.sign_in.users import UsersFile
from pipeline.config import load

pytestmark = [pytest.mark.needs("nginx"), pytest.mark.needs("chromium")]

GUIDE = Path(__file__).parents[2] / "docs/guides/nginx.md"
PATIENCE_S = 60


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)


MAP, *SERVERS = blocks("nginx")
EXAMPLES = dict(zip(("kept", "stripped"), zip(blocks("toml"), SERVERS, strict=True), strict=True))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@contextmanager
def nginx(folder: Path, server: str, pages_port: int) -> Iterator[int]:
    """Runs it with a server of the guide, at a free port; that port."""
    port = free_port()
    server = server.replace("listen 80", f"listen 127.0.0.1:{port}")
    server = server.replace("127.0.0.1:8501", f"127.0.0.1:{pages_port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; {user} pid {folder}/pid; error_log {folder}/errors; events {{}}"
        f"http {{ access_log off; {folders} {MAP} {server} }}"
    )
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    with subprocess.Popen([binary, "-p", str(folder), "-c", str(file)]) as process:
        try:
            _await(port, process)
            yield port
        finally:
            process.terminate()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < until_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("nginx does not listen")


@pytest.mark.parametrize("way", EXAMPLES)
@pytest.mark.parametrize(
    "host", ["cameras.example.org", pytest.param("127.0.0.1", marks=pytest.mark.slow)]
)
def test_as_the_guide_says(
    tmp_path: Path, live_house: Any, chromium: Any, way: str, host: str
) -> None:
    settings, server = EXAMPLES[way]
    asked = tomllib.loads(settings)["dashboard"]
    with (
        serve(load(dashboard={**asked, "port": 0, "refresh_s": 1}), live_house.url) as served,
        nginx(tmp_path, server, int(served.url.split(":")[2].partition("/")[0])) as port,
    ):
        tab = chromium.new_page()
        tab.set_default_timeout(1_000 * PATIENCE_S)
        sockets: list[str] = []
        tab.on("websocket", lambda found: sockets.append(found.url))
        tab.goto(f"http://{host}:{port}/undercam/")
        _walk(tab, f"{host}:{port}/undercam")
        assert sockets == [f"ws://{host}:{port}/undercam/_stcore/stream"]
        tab.close()


def _walk(tab: Any, root: str) -> None:
    """From page to page, by link and by address, each renewed over the socket."""
    tab.get_by_text("Cameras online").wait_for()
    tab.get_by_test_id("stTopNavLink").filter(has_text="Tracks").click()
    tab.locator("[data-key]").first.wait_for()
    assert tab.url.startswith(f"http://{root}/tracks")
    stamp = tab.get_by_text("As of").inner_text()
    tab.wait_for_function("old => !document.body.innerText.includes(old)", arg=stamp)
    tab.get_by_text("Limitations and law").click()
    tab.get_by_role("heading", name="About", level=1).wait_for()
    assert tab.url.startswith(f"http://{root}/about")


@pytest.mark.parametrize("way", EXAMPLES)
def test_sign_in_behind_it(tmp_path: Path, live_house: Any, chromium: Any, way: str) -> None:
    settings, server = EXAMPLES[way]
    users = UsersFile(tmp_path / "users")
    users.add("anna", "admin", "correct horse 7")
    asked = tomllib.loads(settings)["dashboard"] | {"users_file": str(tmp_path / "users")}
    with (
        serve(load(dashboard={**asked, "port": 0, "refresh_s": 1}), live_house.url) as served,
        nginx(tmp_path, server, int(served.url.split(":")[2].partition("/")[0])) as port,
    ):
        context = chromium.new_context()
        context.set_default_timeout(1_000 * PATIENCE_S)
        tab = context.new_page()
        root = f"http://cameras.example.org:{port}/undercam"
        tab.goto(f"{root}/tracks?window=1+h")
        tab.get_by_label("Name").fill("anna")
        tab.get_by_label("Password").fill("correct horse 7")
        tab.get_by_role("button", name="Sign in").click()
        tab.locator("[data-key]").first.wait_for()
        assert tab.url == f"{root}/tracks?window=1+h"
        [cookie] = [c for c in context.cookies() if c["name"] == "undercam_session"]
        assert cookie["path"] == "/undercam"
        tab.goto(f"{root}/")
        tab.get_by_text("Cameras online").wait_for()
        tab.get_by_role("button", name="Sign out").click()
        tab.get_by_label("Password").wait_for()
        assert tab.url == f"{root}/sign-in"
        assert not [c for c in context.cookies() if c["name"] == "undercam_session"]
        context.close()


def test_a_strange_name_gets_no_data(tmp_path: Path, live_house: Any, chromium: Any) -> None:
    """Whoever points a name of their own at this machine is refused, proxy or not."""
    settings, server = EXAMPLES["kept"]
    asked = tomllib.loads(settings)["dashboard"]
    with (
        serve(load(dashboard={**asked, "port": 0}), live_house.url) as served,
        nginx(tmp_path, server, int(served.url.split(":")[2].partition("/")[0])) as port,
    ):
        tab = chromium.new_page()
        with tab.expect_event(
            "console", lambda said: "403" in said.text, timeout=1_000 * PATIENCE_S
        ):
            tab.goto(f"http://evil.example.org:{port}/undercam/")
        assert tab.get_by_text("Cameras online").count() == 0
        tab.close()
