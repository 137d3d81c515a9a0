"""Starting and stopping the pages, as the command line does."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from dashboard import launch
from pipeline.config import Settings
from pipeline.config import load as load_settings
from pipeline.errors import ConfigError, ServiceError

SECRET = "postgresql+psycopg://mara:s3cret@db/house"
PATIENCE_S = 60


def settings(**keys: object) -> Settings:
    return load_settings(dashboard={"port": 0, **keys})


def answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/_stcore/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError):
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_process_list_holds_no_secret() -> None:
    told = settings(refresh_s=3.5)
    assert not any("s3cret" in word for word in launch.command("127.0.0.1", 8501))
    found = launch.environment(told, SECRET)
    assert found["UNDERCAM_STORE__URL"] == SECRET
    assert found["UNDERCAM_DASHBOARD__REFRESH_S"] == "3.5"


def test_the_pages_read_the_settings_that_were_left_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = load_settings(store={"busy_timeout_s": 1.5}, dashboard={"refresh_s": 3.5})
    for name, value in launch.environment(told, SECRET).items():
        monkeypatch.setenv(name, value)
    assert load_settings().store.url == SECRET
    assert load_settings().store.busy_timeout_s == 1.5
    assert load_settings().dashboard == told.dashboard


def test_strange_names_are_refused_on_loopback_only() -> None:
    assert "--server.allowedHosts=127.0.0.1" in launch.command("127.0.0.1", 1)
    assert not any("allowedHosts" in word for word in launch.command("0.0.0.0", 1))


def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"cannot listen: 127\.0\.0\.1:{port}: "):
            launch.serve(settings(port=port), SECRET)


def test_no_address_of_ours() -> None:
    with pytest.raises(ServiceError, match=r"cannot listen: 192\.0\.2\.1:0: "):
        launch.serve(settings(host="192.0.2.1"), SECRET)


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'undercam\[dashboard\]'"):
        launch.serve(settings(), SECRET)


def test_a_server_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "command", lambda host, port: [sys.executable, "-c", ""])
    with pytest.raises(ServiceError, match="the dashboard did not start: http://127"):
        launch.serve(settings(), SECRET)


PARENT = """
import json, sys, time
from dashboard.launch import serve
from pipeline.config import load
served = serve(load(dashboard={"port": 0}), "sqlite:///none.db")
print(json.dumps(served.url), flush=True)
time.sleep(600)
"""


def test_it_answers_and_dies_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    url = json.loads(parent.stdout.readline())
    try:
        assert answers(url)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    until(lambda: not answers(url))


def test_stopping_twice_is_stopping() -> None:
    with launch.serve(settings(), SECRET) as served:
        assert served.is_running
        assert answers(served.url)
        served.stop()
        assert not served.is_running
        assert not answers(served.url)
