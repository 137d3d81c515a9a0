"""Starts the dashboard as a process of its own."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from dashboard.sign_in.users import UsersFile
from pipeline.config import Settings, resolve
from pipeline.control_client import resolve_token
from pipeline.errors import ConfigError, ServiceError
from pipeline.http_settings import EVERY_ADDRESS, LOOPBACK, DashboardSettings

HERE = Path(__file__).parent
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 5.0


class Dashboard:
    """The running dashboard. The end of the context, or of this process, stops it."""

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
        """Whether the server process is alive."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Waits for the end of the server process; returns its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """Stops the server; does nothing if it has stopped already."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(settings: Settings, database_url: str) -> Dashboard:
    """Starts the dashboard of `settings.dashboard`; returns when it responds.

    `database_url` is `settings.store.url` with references resolved. Raises ConfigError where
    Streamlit is not installed, ServiceError where the server cannot listen or does not start.
    """
    if find_spec("streamlit") is None:
        raise ConfigError(
            "the dashboard is not installed", "streamlit", "pip install 'undercam[dashboard]'"
        )
    wanted = settings.dashboard
    _check_files(wanted)
    port = _free_port(wanted.host, wanted.port)
    process = subprocess.Popen(
        build_command(wanted, port),
        env=build_environment(settings, database_url),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # Ctrl-C reaches every process of the terminal's group. This one has a group of its own and
        # ends when its standard input closes.
        process_group=0,
    )
    dashboard = Dashboard(build_url(wanted, port), process)
    try:
        _await_answer(dashboard.url, process)
    except BaseException:
        dashboard.stop()
        raise
    return dashboard


def build_url(wanted: DashboardSettings, port: int) -> str:
    """The URL of the dashboard: `http://HOST:PORT`, or https, followed by its base path."""
    host = EVERY_ADDRESS.get(wanted.host, wanted.host)
    scheme = "https" if wanted.certificate else "http"
    root = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    return "/".join(filter(None, (root, wanted.base_path.strip("/"))))


def build_command(wanted: DashboardSettings, port: int) -> list[str]:
    """The command line of the server; it holds no secret, since other users can read it."""
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
        # The welcome message asks a server on the internet for this machine's address.
        "logger.hideWelcomeMessage": "true",
        "theme.base": HERE / "theme.toml",
    }
    if wanted.certificate:
        options |= {"server.sslCertFile": wanted.certificate, "server.sslKeyFile": wanted.key}
    flags = [f"--{name}={value}" for name, value in options.items()]
    if wanted.host in LOOPBACK or wanted.public_hosts:
        # DNS rebinding: a web page may point its own host name at this machine. Only these names
        # are answered.
        names = (*LOOPBACK, wanted.host, *wanted.public_hosts)
        flags += [f"--server.allowedHosts={name}" for name in dict.fromkeys(names)]
    # -P: do not import modules of the same names from the current folder.
    return [sys.executable, "-P", "-m", "dashboard", "run", str(HERE / "server.py"), *flags]


def build_environment(settings: Settings, database_url: str) -> dict[str, str]:
    """This process's environment, with the settings that the pages read."""
    prefix, control = "UNDERCAM_DASHBOARD", "UNDERCAM_CONTROL"
    others = {
        name: value for name, value in os.environ.items() if not name.startswith((prefix, control))
    }
    return others | {
        "PYTHONSAFEPATH": "1",
        "UNDERCAM_STORE__URL": database_url,
        "UNDERCAM_STORE__BUSY_TIMEOUT_S": str(settings.store.busy_timeout_s),
        prefix: settings.dashboard.model_dump_json(),
        # Where an admin's changes go: see `dashboard.control`.
        "UNDERCAM_CONTROL": settings.control.model_dump_json(),
        "UNDERCAM_OUTBOX__FOLDER": str(Path(settings.outbox.folder).absolute()),
    }


def _check_files(wanted: DashboardSettings) -> None:
    """Raises ConfigError or InputError for a file or secret of the sign-in that cannot be used."""
    if wanted.users_file:
        UsersFile(wanted.users_file).accounts()
    resolve(wanted.oidc.client_secret)
    resolve_token(wanted.api_token, "the API")
    if wanted.certificate:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                wanted.certificate, wanted.key, password=""
            )
        except OSError as error:
            remedy = f"give PEM files that belong together, without a passphrase ({error.strerror})"
            raise ConfigError("certificate not usable", wanted.certificate, remedy) from error


def _free_port(host: str, port: int) -> int:
    """The port, or for 0 one that is free now. Raises ServiceError if it cannot be bound."""
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
    # The certificate is not for the loopback address, and the answer is nothing but `ok`.
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    # Without the proxy that the environment may name: it cannot reach our loopback address.
    ask = build_opener(ProxyHandler({}), HTTPSHandler(context=unchecked)).open
    deadline = time.monotonic() + READY_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with ask(f"{url}/_stcore/health", timeout=1.0):
                return
        except OSError:
            time.sleep(0.1)
    raise ServiceError("the dashboard did not start", url, "see its messages above")
