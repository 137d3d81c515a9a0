"""How `undercam run` tells other commands of its control interface, and what those make of it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from pipeline.bus.locks import FileLock
from pipeline.cli.app import run
from pipeline.cli.state import ControlNotice
from pipeline.config import load
from pipeline.control_client import CONTROL_FILE, RUN_LOCK, ControlAddress, ControlFile
from pipeline.live.control import ControlServer
from pipeline.live.engine import State
from pipeline.store.engine import use_store
from pipeline.store.registry import registered_cameras

HERE = socket.gethostname()
ADDRESS = ControlAddress("http://127.0.0.1:8600", "t" * 64, HERE)
OUTBOX = Path("state/outbox")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    OUTBOX.mkdir(parents=True)


def test_what_a_killed_command_left_goes_at_once_and_its_own_at_the_end() -> None:
    ControlFile(OUTBOX).update(ADDRESS)
    notice = ControlNotice(load())
    assert not (OUTBOX / CONTROL_FILE).exists()
    notice.update(ADDRESS)
    assert (OUTBOX / CONTROL_FILE).exists()
    notice.remove()
    assert not (OUTBOX / CONTROL_FILE).exists()


def test_what_cannot_be_reached_from_here_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    notice = ControlNotice(load())
    notice.update(ADDRESS)
    for _ in range(2):
        notice.update(ControlAddress("http://127.0.0.1:8600", "t" * 64, "elsewhere"))
    assert not (OUTBOX / CONTROL_FILE).exists()
    assert capsys.readouterr().err == (
        "undercam: commands here cannot reach the control interface: http://127.0.0.1:8600: it "
        "listens on the loopback of elsewhere: set control.host\n"
    )


def test_a_folder_that_cannot_be_written_is_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notice = ControlNotice(load())
    OUTBOX.rmdir()
    for _ in range(2):
        notice.update(ADDRESS)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("undercam: the control interface is not announced to commands: state/")


def test_an_interface_that_is_just_ending_is_passed_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    lock = FileLock.acquire(OUTBOX / RUN_LOCK)
    assert lock
    with lock:
        ControlFile(OUTBOX).update(ControlAddress(url, "t" * 64, HERE))
        assert run(["cameras", "add", "door", "a.mp4", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["camera"] == "door"
    assert printed.err.startswith("undercam: the control interface cannot be reached (Connection")
    assert printed.err.endswith(": written into the database instead\n")
    with use_store("sqlite:///state/undercam.db") as engine:
        assert list(registered_cameras(engine)) == ["door"]


def test_another_machine_has_no_second_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTROL_TOKEN", "t" * 20)
    monkeypatch.setenv("UNDERCAM_CONTROL__TOKEN", "env:CONTROL_TOKEN")
    with ControlServer(load(store={"url": "sqlite:///there.db"}), State) as server:
        monkeypatch.setenv("UNDERCAM_CONTROL__URL", server.address.url)
        assert run(["cameras", "add", "door", "a.mp4"]) == 0
        monkeypatch.setenv("CONTROL_TOKEN", "u" * 20)
        assert run(["cameras", "list"]) == 2
    assert "undercam: token missing or wrong: Authorization: " in capsys.readouterr().err
    assert run(["cameras", "list"]) == 4
    assert "undercam: the control interface cannot be reached" in capsys.readouterr().err
    assert not Path("state/undercam.db").exists()
    with use_store("sqlite:///there.db") as engine:
        assert list(registered_cameras(engine)) == ["door"]
