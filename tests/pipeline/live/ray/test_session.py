"""The folder that a Ray of ours lives in: for us alone, and gone afterwards."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.live.ray.session import (
    LOCK,
    MARK,
    MOST_BYTES,
    PREFIX,
    SOCKET_NAME,
    Session,
    base_folder,
    clear,
    kill_processes_of,
)

SLEEP = [sys.executable, "-c", "import signal, sys; print(flush=True); signal.pause()"]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("pipeline.live.ray.session.base_folder", lambda: tmp_path)
    monkeypatch.delenv(MARK, raising=False)
    return tmp_path


def sleeper(folder: Path) -> subprocess.Popen[str]:
    """A process that was started in a session."""
    env = os.environ | {MARK: str(folder)}
    process = subprocess.Popen(SLEEP, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    return process


def test_only_we_may_enter_it_and_nothing_is_left(base: Path) -> None:
    session = Session()
    assert stat.S_IMODE(session.folder.stat().st_mode) == 0o700
    assert session.folder.parent == base
    with sleeper(session.folder) as inside:
        session.remove()
        assert inside.wait(5) == -9
    assert list(base.iterdir()) == []
    assert MARK not in os.environ


def test_what_a_killed_run_left_behind_is_ended_and_removed_and_nothing_else(base: Path) -> None:
    left = base / f"{PREFIX}left"
    left.mkdir()
    (left / LOCK).touch()
    elsewhere = base / "elsewhere"
    elsewhere.mkdir()
    (base / f"{PREFIX}link").symlink_to(elsewhere)
    (elsewhere / LOCK).touch()
    (base / f"{PREFIX}unfinished").mkdir()
    running = Session()
    (base / f"{PREFIX}again").mkdir()
    with sleeper(left) as orphan, sleeper(running.folder) as other:
        left.mkdir(exist_ok=True)
        (left / LOCK).touch()
        clear(base)
        assert orphan.wait(5) == -9
        assert other.poll() is None
        other.kill()
    kept = {
        running.folder.name,
        "elsewhere",
        *(PREFIX + n for n in ("link", "unfinished", "again")),
    }
    assert {path.name for path in base.iterdir()} == kept
    assert (elsewhere / LOCK).exists()
    running.remove()


def test_a_process_that_lost_its_environment_is_known_by_its_files(base: Path) -> None:
    session = Session()
    log = session.folder / "ray.log"
    bare = {name: value for name, value in os.environ.items() if name != MARK}
    with log.open("w") as out, subprocess.Popen(SLEEP, env=bare, stdout=out) as titled:
        while not log.read_text():  # until it runs
            assert titled.poll() is None
        session.remove()
        assert titled.wait(5) == -9


def test_processes_of_others_are_let_live(base: Path) -> None:
    with sleeper(base / "one") as one, sleeper(base / "one-more") as more:
        kill_processes_of(base / "one")
        assert one.wait(5) == -9
        assert more.poll() is None
        more.kill()


def test_socket_paths_never_become_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    for folder in (deep, Path("/tmp")):
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        base = base_folder()
        path = f"{base}/{PREFIX}12345678{SOCKET_NAME}"
        assert len(path) <= MOST_BYTES
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=base) as own:
            longest = Path(own) / ("x" * (len(path) - len(own) - 1))
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(longest))
