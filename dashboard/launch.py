"""Starts the pages as a process of their own and tells where they are."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from urllib.request import ProxyHandler, build_opener

from pipeline.config import Settings
from pipeline.errors import ConfigError, ServiceError
from pipeline.service_settings import DashboardSettings

HERE = Path(__file__).parent
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 5.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""An address that means all of them, and one at which the pages can be asked."""


class Dashboard:
    """The running pages. Leaving it as a context, or the end of this process, stops them."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._process = process

    def __enter__(self) -> Dashboard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the pages are still served."""
        return self._process.poll() is None

    def wait(self) -> int:
        """The exit code, once the pages have stopped."""
        return self._process.wait()

    def stop(self) -> None:
        """Stops the pages; nothing happens where they have stopped already."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(settings: Settings, database_url: str) -> Dashboard:
    """Starts the pages on `settings.dashboard` and returns when they answer.

    `database_url` is what `settings.store.url` refers to. Raises ConfigError where the pages are
    not installed, ServiceError where they cannot listen or do not come up.
    """
    if find_spec("streamlit") is None:
        raise ConfigError(
            "the dashboard is not installed", "streamlit", "pip install 'undercam[dashboard]'"
        )
    wanted = settings.dashboard
    port = _free_port(wanted.host, wanted.port)
    process = subprocess.Popen(
        command(wanted, port),
        env=environment(settings, database_url),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # Ctrl-C reaches every process of a terminal's group; this one ends with its standard input.
        process_group=0,
    )
    dashboard = Dashboard(address(wanted, port), process)
    try:
        _await_answer(dashboard.url, process)
    except BaseException:
        dashboard.stop()
        raise
    return dashboard


def address(wanted: DashboardSettings, port: int) -> str:
    """Where the pages are: `http://HOST:PORT`, and below it their base path."""
    host = EVERY_ADDRESS.get(wanted.host, wanted.host)
    root = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    return "/".join(filter(None, (root, wanted.base_path.strip("/"))))


def command(wanted: DashboardSettings, port: int) -> list[str]:
    """What is run; everybody on this machine can read it, so it holds no secret."""
    options = {
        "server.address": wanted.host,
        "server.port": port,
        "server.baseUrlPath": wanted.base_path.strip("/"),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "runner.magicEnabled": "false",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "logger.level": "error",
        # The welcome asks a server on the internet for our address.
        "logger.hideWelcomeMessage": "true",
        "theme.base": HERE / "theme.toml",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    if wanted.host in LOOPBACK or wanted.public_hosts:
        # A page on the internet may point its own name at this machine; only ours are answered.
        names = (*LOOPBACK, wanted.host, *wanted.public_hosts)
        flags += [f"--server.allowedHosts={name}" for name in dict.fromkeys(names)]
    # -P: a module in the current folder that is called as one of ours is not ours.
    return [sys.executable, "-P", "-m", "dashboard", "run", str(HERE / "app.py"), *flags]


def environment(settings: Settings, database_url: str) -> dict[str, str]:
    """Ours, with the settings that the pages read in it."""
    return os.environ | {
        "PYTHONSAFEPATH": "1",
        "UNDERCAM_STORE__URL": database_url,
        "UNDERCAM_STORE__BUSY_TIMEOUT_S": str(settings.store.busy_timeout_s),
        "UNDERCAM_DASHBOARD__REFRESH_S": str(settings.dashboard.refresh_s),
    }


def _free_port(host: str, port: int) -> int:
    """The port, or for 0 one that was free just now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServiceError(
                "cannot listen",
                f"{host}:{port}",
                f"give another dashboard.host or dashboard.port ({error.strerror})",
            ) from error
        number: int = probe.getsockname()[1]
        return number


def _await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    # Straight to it: a proxy of the environment does not know our loopback.
    ask = build_opener(ProxyHandler({})).open
    deadline = time.monotonic() + READY_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with ask(f"{url}/_stcore/health", timeout=1.0):
                return
        except OSError:
            time.sleep(0.1)
    raise ServiceError("the dashboard did not start", url, "see what it said above")
