"""What every test may rely on: a clean environment, no network, and one way to need a thing.

`@pytest.mark.needs("data")` skips where the thing is missing, with the reason. Where UNDERCAM_CI is
set everything must be there: a skip is a failure, but for a test that needs a GPU.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# pytest is an entry point like any other: nothing that we start reports to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")
# A shell starts its background jobs with these ignored, and what we start would ignore them too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

IN_CI = bool(os.environ.get("UNDERCAM_CI"))
# No deadline: a busy machine is not a fault of the code. In CI every run tries the same examples.
settings.register_profile("undercam", deadline=None, derandomize=IN_CI)
settings.load_profile("undercam")
DATA = Path(os.environ.get("UNDERCAM_DATA") or "no-data").resolve()


NEEDS: dict[str, tuple[Callable[[], object], str]] = {
    "data": (DATA.is_dir, "set UNDERCAM_DATA to the folder of the test data"),
    "chromium": (lambda: shutil.which("chromium"), "install chromium"),
    "ffmpeg": (lambda: shutil.which("ffmpeg"), "install ffmpeg"),
    "kafka": (
        lambda: (DATA / "kafka/broker").is_file() and shutil.which("java"),
        "set UNDERCAM_DATA to a folder with kafka/broker, and install a Java 17 runtime",
    ),
    "mosquitto": (
        lambda: shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto"),
        "install mosquitto",
    ),
    "nginx": (lambda: shutil.which("nginx") or shutil.which("/usr/sbin/nginx"), "install nginx"),
    "openssl": (lambda: shutil.which("openssl"), "install openssl"),
    "pgbouncer": (lambda: shutil.which("pgbouncer"), "install pgbouncer"),
    "postgres": (
        lambda: any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb"),
        "install postgresql",
    ),
    "ray-default": (
        lambda: all(find_spec(module) for module in ("aiohttp", "aiohttp_cors", "opencensus")),
        "pip install 'ray[default]'",
    ),
    "rtsp": (
        lambda: any(Path("/usr/lib").glob("*/girepository-1.0/GstRtspServer-1.0.typelib")),
        "install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{base,good,bad,ugly}",
    ),
    "gpu": (Path("/dev/nvidia0").exists, "run it on a machine with a CUDA device"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs what is not here."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            present, remedy = NEEDS[name]
            if not present():
                pytest.skip(f"needs {name}: {remedy}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test has failed."""
    report = yield
    if not any("gpu" in marker.args for marker in item.iter_markers("needs")):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a skipped module has failed too."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        path, line, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, "")
        report.longrepr = f"{path}:{line}: in CI nothing may be skipped: {reason}"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("UNDERCAM_") and name != "UNDERCAM_DATA":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anything but this machine is an error that no product code catches."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            self.close()
            raise AssertionError(f"a test reached for the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host in ("localhost", "::1")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the test data; a test that asks for it is skipped where there is none."""
    if not DATA.is_dir():
        pytest.skip("needs data: set UNDERCAM_DATA to the folder of the test data")
    return DATA
