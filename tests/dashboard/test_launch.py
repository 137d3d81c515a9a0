"""Starting and stopping the pages, as the command line does."""

from __future__ import annotations

import json
import os
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
from pipeline.cli.app import run
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
    assert not any("s3cret" in word for word in launch.build_command(told.dashboard, 8501))
    found = launch.build_environment(told, SECRET)
    assert found["UNDERCAM_STORE__URL"] == SECRET
    assert json.loads(found["UNDERCAM_DASHBOARD"])["refresh_s"] == 3.5


def test_the_pages_read_the_settings_that_were_left_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = load_settings(store={"busy_timeout_s": 1.5}, dashboard={"refresh_s": 3.5})
    for name, value in launch.build_environment(told, SECRET).items():
        monkeypatch.setenv(name, value)
    assert load_settings().store.url == SECRET
    assert load_settings().store.busy_timeout_s == 1.5
    assert load_settings().dashboard == told.dashboard


def names(**keys: object) -> list[str]:
    """Host names under which the pages answer; none: under any."""
    words = launch.build_command(settings(**keys).dashboard, 1)
    return [word.partition("=")[2] for word in words if "allowedHosts" in word]


def test_strange_names_are_refused_on_loopback_or_beside_public_ones() -> None:
    assert names() == list(launch.LOOPBACK)
    assert names(host="0.0.0.0") == []
    assert names(public_hosts=["a.example.org"]) == [*launch.LOOPBACK, "a.example.org"]
    assert names(host="10.0.0.7", public_hosts=["a.example.org"]) == [
        *(*launch.LOOPBACK, "10.0.0.7", "a.example.org")
    ]


@pytest.mark.parametrize(
    ("base_path", "url"),
    [
        ("", "http://127.0.0.1:8501"),
        ("/", "http://127.0.0.1:8501"),
        ("cams", "http://127.0.0.1:8501/cams"),
        ("/a/b.c/", "http://127.0.0.1:8501/a/b.c"),
    ],
)
def test_the_address_has_the_base_path(base_path: str, url: str) -> None:
    assert launch.build_url(settings(base_path=base_path).dashboard, 8501) == url


@pytest.mark.parametrize(
    "base_path", ["..", "a/../b", "a//b", "a b", "a?b", "a#b", "ä", "http://x"]
)
def test_what_is_no_path_is_refused(base_path: str) -> None:
    with pytest.raises(ConfigError, match="dashboard.base_path"):
        settings(base_path=base_path)


def test_under_a_base_path() -> None:
    with launch.serve(settings(base_path="/house/cams/"), SECRET) as served:
        assert served.url.endswith("/house/cams")
        assert answers(served.url)
        assert not answers(served.url.removesuffix("/house/cams"))


def test_the_current_folder_is_not_searched(
    tmp_path: Path, strange_app: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    strange_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    with launch.serve(settings(), SECRET) as served:
        assert answers(served.url)


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
    monkeypatch.setattr(launch, "build_command", lambda wanted, port: [sys.executable, "-c", ""])
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_pages_end_in_silence_while_their_parent_lives(number: signal.Signals) -> None:
    """A thread that waits for standard input in one of Python's buffers would abort them."""
    told = settings()
    port = launch._free_port("127.0.0.1", 0)
    with subprocess.Popen(
        launch.build_command(told.dashboard, port),
        env=launch.build_environment(told, SECRET),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as pages:
        assert pages.stderr
        launch._await_answer(f"http://127.0.0.1:{port}", pages)
        pages.send_signal(number)
        assert (pages.stderr.read(), pages.wait()) == (b"", 0)


def interrupted(folder: Path, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
    """`undercam dashboard` and all that it started get a signal, as a terminal sends it; its exit
    code, what it said, and where it was."""
    command = [sys.executable, "-P", "-m", "pipeline", "dashboard", "--port", "0"]
    with subprocess.Popen(
        [*command, "--store", f"sqlite:///{folder}/none.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as front:
        assert front.stdout
        assert front.stderr
        url = front.stdout.readline().split()[2].rstrip(",")
        os.killpg(front.pid, number)
        said = front.stderr.read()
        return front.wait(PATIENCE_S), said, url


ENDS = ((130, ""), (130, "undercam: stopped\n"))


def test_ctrl_c_ends_in_one_line_at_most(tmp_path: Path) -> None:
    for _ in range(2):
        code, said, url = interrupted(tmp_path)
        assert (code, said) in ENDS
        assert not answers(url)


def test_a_service_manager_ends_it_without_a_failure(tmp_path: Path) -> None:
    code, said, url = interrupted(tmp_path, signal.SIGTERM)
    assert (code, said) == (0, "")
    assert not answers(url)


@pytest.mark.slow
def test_ctrl_c_twenty_times(tmp_path: Path) -> None:
    assert [end for _ in range(20) if (end := interrupted(tmp_path)[:2]) not in ENDS] == []


def test_pages_that_die_end_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.Dashboard, "wait", lambda self: self.stop() or 0)
    assert run(["dashboard", "--port", "0", "--store", f"sqlite:///{tmp_path}/none.db"]) == 4
