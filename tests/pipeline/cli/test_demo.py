"""`undercam demo` as a command: one JSON line that the database confirms."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.camera_states import FAILED, REFUSED
from pipeline.cli.demo import CAMERA, _make_sample, _watch
from pipeline.errors import InputError
from pipeline.live.engine import State
from pipeline.live.leases import Lease, Report
from pipeline.media.sample_clip import write_sample
from pipeline.media.video import VideoWriter
from pipeline.permissions import make_folder
from pipeline.settings import CameraSettings

ROOT = Path(__file__).parents[3]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real faces, from photographs in the installed packages."""
    path = tmp_path_factory.mktemp("clips") / "sample.mp4"
    write_sample(path)
    return path


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds without a face."""
    path = tmp_path_factory.mktemp("clips") / "blank.mp4"
    with VideoWriter(path, 320, 240, 20) as writer:
        for _ in range(40):
            writer.write(np.full((240, 320, 3), 30, np.uint8))
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the demo in the test's folder, on a clip of ours."""
    begun: list[subprocess.Popen[str]] = []

    def started(clip: Path, *options: str) -> subprocess.Popen[str]:
        make_folder(tmp_path / "state")
        shutil.copyfile(clip, tmp_path / "state" / "sample.mp4")
        command = [sys.executable, "-P", "-m", "pipeline", "demo", "--headless", *options]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        begun.append(process)
        return process

    yield started
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def rows(folder: Path, query: str) -> list[Any]:
    database = folder / "state" / "undercam.db"
    if not database.exists():
        return []
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def test_its_last_line_is_what_the_database_holds(
    start: Start, sample: Path, tmp_path: Path
) -> None:
    process = start(sample, "--seconds", "6")
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    last = json.loads(out.splitlines()[-1])
    assert list(last) == ["dashboard", "database", "tracks", "observations", "shed", "ok"]
    assert last["ok"]
    assert last["database"] == "state/undercam.db"
    assert last["dashboard"].startswith("http://127.0.0.1:")
    assert [(last["observations"],)] == rows(tmp_path, "SELECT count(*) FROM observations")
    assert [(last["tracks"],)] == rows(tmp_path, "SELECT count(*) FROM tracks")
    assert last["observations"] > 0
    assert rows(tmp_path, "SELECT DISTINCT camera, phase FROM tracks") == [("sample", "end")]
    assert rows(tmp_path, "SELECT * FROM camera_leases") == []
    assert rows(tmp_path, "SELECT camera FROM cameras WHERE settings IS NOT NULL") == []
    assert list((tmp_path / "state" / "outbox").glob("*.outbox")) == []


@pytest.mark.slow
def test_without_a_face_it_is_not_ok(start: Start, blank: Path) -> None:
    process = start(blank, "--seconds", "2")
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    last = json.loads(out.splitlines()[-1])
    assert (last["observations"], last["tracks"], last["ok"]) == (0, 0, False)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_last_line(
    start: Start, sample: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    process = start(sample)
    end = time.monotonic() + 120
    while not rows(tmp_path, "SELECT id FROM observations"):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    process.send_signal(ending)
    out, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert json.loads(out.splitlines()[-1])["ok"]


@pytest.mark.parametrize("state", [FAILED, REFUSED])
def test_a_clip_that_cannot_be_played_ends_it_with_the_reason(state: str) -> None:
    report = Report(Lease(CAMERA, 1, CameraSettings(url="a.mp4")), state, "not a video: a.mp4")

    class Refused:
        def state(self) -> State:
            return State(cameras={CAMERA: report})

    with pytest.raises(InputError, match=r"cannot be played: a.mp4: not a video") as raised:
        _watch(Refused(), lambda: False, 1.0, set(), Path("a.mp4"))  # type: ignore[arg-type]
    assert raised.value.exit_code == 3


def test_a_sample_that_is_interrupted_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.media.sample_clip.write_sample", write)
    with pytest.raises(KeyboardInterrupt):
        _make_sample(tmp_path / "state" / "sample.mp4")
    assert list((tmp_path / "state").iterdir()) == []
    monkeypatch.setattr(
        "pipeline.media.sample_clip.write_sample", lambda path: path.write_bytes(b"whole")
    )
    _make_sample(tmp_path / "state" / "sample.mp4")
    (clip,) = (tmp_path / "state").iterdir()
    assert (clip.name, clip.read_bytes()) == ("sample.mp4", b"whole")
