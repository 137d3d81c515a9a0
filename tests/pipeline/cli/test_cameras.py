"""`undercam cameras`: every change says what it did, and the list shows all of it.

Every test runs twice: in the database, and through the control interface of a command at work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.app import run
from pipeline.clock import wall_clock
from pipeline.config import load
from pipeline.records import CameraStatus
from pipeline.store.engine import use_store
from pipeline.store.writer import StoreWriter
from tests.pipeline.control import announced

UNDERCAM = Path(sys.executable).with_name("undercam")
LONG = "rtsp://[fe80::1]:554/" + "/".join(f"a-long-address-{number}" for number in range(12))


@pytest.fixture(autouse=True, params=["database", "interface"])
def _way(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    if request.param == "database":
        yield
        return
    with announced(load()) as found:
        yield
        assert found


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["cameras", *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def piped(*arguments: str) -> str:
    """What another program reads, whatever the terminal beside it is like."""
    environment = os.environ | {"COLUMNS": "30"}
    done = subprocess.run(
        [UNDERCAM, "cameras", *arguments], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def status(camera: str, state: str, reason: str = "", fps: float = 0.0) -> CameraStatus:
    return CameraStatus(
        id=CameraStatus.make_id(camera, "e1", 0),
        camera=camera,
        run="e1",
        seq=0,
        state=state,
        since_ms=wall_clock(),
        reason=reason,
        fps=fps,
        lag_ms=0,
        shed={},
    )


def test_each_change_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "add", "door", "/dev/video0", "--fps", "2.5") == (
        "added camera door: /dev/video0; `undercam run` reads it within seconds\n"
    )
    assert said(capsys, "set", "door", "--disable", "--fps", "0", "--under-display") == (
        "changed camera door: enabled yes to no, under_display unset to yes, analyse_fps 2.5 to 0\n"
    )
    unchanged = said(capsys, "set", "door", "--disable")
    assert unchanged == "changed camera door: no changes\n"
    assert said(capsys, "remove", "door") == (
        "removed camera door: it is no longer read, its rows stay\n"
    )
    assert said(capsys, "list") == (
        "no cameras: add one with `undercam cameras add NAME ADDRESS`\n"
    )


def test_json_is_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("add", "door", "a.mp4"), ("set", "door", "--disable"), ("remove", "door")):
        told = json.loads(said(capsys, *arguments, "--json"))
        assert told["camera"] == "door"


def test_the_list_in_a_pipe_has_everything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said(capsys, "add", "yard", LONG)
    said(capsys, "add", "attic", "/dev/video0", "--fps", "2.5")
    said(capsys, "set", "attic", "--disable")
    said(capsys, "add", "gate", "env:GATE_URL", "--fps", "5")
    why = "no route to [fe80::1]: " + "and on " * 40
    with use_store(f"sqlite:///{tmp_path}/state/undercam.db") as engine:
        records = [status("yard", "offline", why.strip()), status("gate", "online", fps=4.96)]
        StoreWriter(engine).write(records)
    rows = {
        cells[0]: cells[1:]
        for line in piped("list").splitlines()
        if len(cells := [cell.strip() for cell in line.strip("│").split("│")]) == 6
    }
    assert rows == {
        "attic": ["/dev/video0", "no", "2.5", "disabled", ""],
        "gate": ["env:GATE_URL", "yes", "5", "online, 4.96 fps", ""],
        "yard": [LONG, "yes", "all", "offline", why.strip()],
    }
    shown = json.loads(piped("list", "--json"))["cameras"]
    assert shown["gate"]["fps"] == 4.96
    assert [row["enabled"] for row in shown.values()] == [False, True, True]


def test_a_camera_may_have_a_mode_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    added = json.loads(said(capsys, "add", "door", "a.mp4", "--mode", "robust", "--json"))
    assert added["settings"]["mode"] == "robust"
    assert said(capsys, "set", "door", "--mode", "auto") == (
        "changed camera door: mode robust to auto\n"
    )
    assert run(["cameras", "set", "door", "--mode", "slow"]) == 2
    assert "bad value for 'mode': door: Input should be 'fast'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("add", "hall", "b.mp4"), 2, "already registered: hall: change it with"),
        (("add", "Hall", "b.mp4"), 2, "not a camera name: 'Hall': did you mean 'hall'?"),
        (("add", "yard", "rtsp://a:s3cret@b/c"), 2, "an address with a credential in it, or what"),
        (("add", "yard", "gopher://x"), 2, "unknown scheme"),
        (("add", "yard", "env:HOME"), 2, "cameras may not refer to this variable: env:HOME"),
        (("add", "yard", "b.mp4", "--play", "twice"), 2, "bad value for 'play': yard: Input"),
        (("add", "yard", "b.mp4", "--fps", "nan"), 2, "bad value for 'analyse_fps': yard: Input"),
        (("set", "hall", "--url", "rtsp://a:s3cret@b/c"), 2, "an address with a credential in it"),
        (("set", "hall", "--fps", "-1"), 2, "bad value for 'analyse_fps': hall: Input should be"),
        (("set", "hal", "--enable"), 2, "not registered: hal: did you mean 'hall'?"),
        (("remove", "yard"), 2, "not registered: yard: see `undercam cameras list`"),
    ],
)
def test_what_is_refused_changes_nothing(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, error: str
) -> None:
    said(capsys, "add", "hall", "a.mp4")
    before = said(capsys, "list", "--json")
    assert run(["cameras", *arguments]) == code
    printed = capsys.readouterr()
    assert error in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")
    assert "s3cret" not in printed.err
    assert said(capsys, "list", "--json") == before


def test_a_database_that_is_away_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "undercam.db").write_bytes(b"no database" * 1000)
    assert run(["cameras", "list"]) == 4
    assert capsys.readouterr().err.startswith("undercam: not a SQLite database: state/undercam.db")


def test_a_camera_has_a_purpose_and_an_age_limit(capsys: pytest.CaptureFixture[str]) -> None:
    added = said(
        capsys, "add", "door", "a.mp4", "--keep-days", "30", "--purpose", "Opens", "--json"
    )
    settings = json.loads(added)["settings"]
    assert (settings["keep_days"], settings["purpose"]) == (30, "Opens")
    assert said(capsys, "set", "door", "--keep-days", "7.5", "--purpose", "Opens the door") == (
        "changed camera door: purpose Opens to Opens the door, keep_days 30 to 7.5\n"
    )
    assert run(["cameras", "set", "door", "--keep-days", "0"]) == 2
    assert "bad value for 'keep_days': door: " in capsys.readouterr().err
    assert run(["cameras", "set", "door", "--purpose", "x" * 501]) == 2
    assert "bad value for 'purpose': door: " in capsys.readouterr().err


def test_a_setting_of_its_own_can_be_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    said(
        capsys,
        "add",
        "door",
        "a.mp4",
        "--keep-days",
        "30",
        "--mode",
        "auto",
        "--display-name",
        "Tür",
    )
    told = said(capsys, "set", "door", "--unset", "keep_days", "--unset", "mode", "--fps", "2")
    assert told == (
        "changed camera door: mode auto to unset, analyse_fps unset to 2, keep_days 30 to unset\n"
    )
    settings = json.loads(said(capsys, "set", "door", "--unset", "analyse_fps", "--json"))[
        "settings"
    ]
    assert settings["analyse_fps"] is settings["keep_days"] is settings["mode"] is None
    assert settings["display_name"] == "Tür"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--unset", "url"), "no setting to take back: url: --unset: give one of under_display"),
        (("--unset", "mode", "--mode", "fast"), "mode is set and unset at once: --unset: give one"),
    ],
)
def test_what_cannot_be_taken_back_is_refused(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], error: str
) -> None:
    said(capsys, "add", "door", "a.mp4")
    assert run(["cameras", "set", "door", *options]) == 2
    assert error in capsys.readouterr().err
