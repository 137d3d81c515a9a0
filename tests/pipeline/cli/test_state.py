"""A state folder has one command, and no other user reads it."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.bus.outbox import Outbox
from pipeline.cli.state import state_folder
from pipeline.config import Settings
from pipeline.errors import ServiceError
from pipeline.store.engine import open_store

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from pipeline.cli.state import state_folder
from pipeline.config import Settings
with state_folder(Settings()):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_second_command_is_told_who_holds_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pipeline.cli.state.PATIENCE_S", 0.1)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, "run", "-c", "rtsp://admin:s3cret@10.0.0.7/live"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ServiceError) as caught, state_folder(Settings()):
            pass
        other = Settings.model_validate({"outbox": {"folder": str(tmp_path / "other")}})
        with state_folder(other):
            pass
        holder.kill()
    said = str(caught.value)
    assert "another command works in this state folder: state/outbox: " in said
    assert f"pid {holder.pid} on " in said
    assert "s3cret" not in said
    with state_folder(Settings()):  # the lock died with its holder
        assert mode(tmp_path / "state" / "outbox" / ".run.lock") == 0o600


def test_what_an_earlier_version_left_open_is_closed_and_said(
    tmp_path: Path, make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store("sqlite:///state/undercam.db").dispose()
    with Outbox("state/outbox", "door", "e1") as outbox:
        outbox.append([make.look()])
        (tmp_path / "state/outbox/hall.e2.outbox.1.damaged").touch()
        (tmp_path / "state/outbox/notes.txt").touch()
        (tmp_path / "state/sample.mp4").touch()
        for path in (tmp_path / "state", *(tmp_path / "state").rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        with state_folder(Settings()):
            said = capsys.readouterr().err
    left = {p.name for p in (tmp_path / "state").rglob("*") if mode(p) & 0o077}
    assert left == {"notes.txt"}
    assert mode(tmp_path / "state") == 0o700
    lines = said.splitlines()
    assert "undercam: was open to other users: state: its mode was 755 and is 700 now" in lines
    assert len(lines) == 2 + 1 + 1 + 1 + 4  # folders, sample, database, damaged, door's and locks
    with state_folder(Settings()):
        assert capsys.readouterr().err == ""


def test_a_folder_that_somebody_named_is_warned_of_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    mine.chmod(0o777)
    store = {"url": f"sqlite:///{mine}/my.db"}
    settings = Settings.model_validate({"outbox": {"folder": str(mine)}, "store": store})
    open_store(store["url"]).dispose()
    with state_folder(settings):
        (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"undercam: open to other users: {mine}: chmod 700 {mine}, or ")
    assert mode(mine) == 0o777
    assert mode(mine / "my.db") == 0o600


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with (
        pytest.raises(ServiceError, match="state folder cannot be used: state/outbox: make it"),
        state_folder(Settings()),
    ):
        pass
