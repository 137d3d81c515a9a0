"""What `undercam analyze` reads that is no file: live addresses and webcams."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.app import run
from pipeline.cli.inputs import ReadLimit, default_name
from pipeline.errors import InputError
from pipeline.frames import ConnectionState, Counts
from tests.pipeline.stages.source.cameras import http_camera, mjpeg, pushing, replies

Answer = Callable[[Any], None]


@dataclass
class Source:
    connection_state: ConnectionState
    decoded: int = 0

    def counts(self) -> Counts:
        return Counts(self.decoded, 0, {})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_live_address_is_read_for_so_long(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, film = tmp_path / "e.jsonl", tmp_path / "a.mp4"
    with http_camera(lambda request: mjpeg(request, 200, 25)) as url:
        monkeypatch.setenv("BACK_DOOR_URL", f"{url}/video")
        options = ["--seconds", "1.5", "--fps", "5", "--json", "--events", str(events)]
        assert run(["analyze", "env:BACK_DOOR_URL", *options, "--annotate", str(film)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["camera"] == "back_door"
    assert result["run"].startswith("e")
    assert 3 <= result["frames"] < 20  # of 37 that the camera sends in that time
    assert result["frames"] == result["analysed"]
    assert result["damage"] == ""
    states = [(one["state"], one["reason"]) for one in lines(events) if "state" in one]
    assert states[0] == ("online", "")
    assert states[-1] == ("offline", "stopped")
    assert film.stat().st_size > 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (replies(401), "wrong user or password"),
        (replies(404), "no stream at this path"),
        (replies(200, b"<html>s3cret</html>"), "not a video"),
    ],
)
def test_a_camera_that_refuses_ends_it_with_the_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, answer: Answer, reason: str
) -> None:
    events = tmp_path / "e.jsonl"
    with http_camera(answer) as url:
        where = f"{url}/s3cret?p=s3cret"
        assert run(["analyze", where, "--seconds", "60", "--json", "--events", str(events)]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"undercam: no frame from the camera: {url}/***?***: ")
    assert reason in printed.err
    assert printed.err.count("\n") == 1
    told = lines(events)
    assert {one["state"] for one in told} == {"refused"}
    assert reason in told[0]["reason"]
    assert "s3cret" not in printed.err + events.read_text()


def test_a_camera_that_cannot_be_reached(
    capsys: pytest.CaptureFixture[str], free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_URL", f"rtsp://ann:hunter2@127.0.0.1:{free_port}/live")
    assert run(["analyze", "env:DOOR_URL", "--seconds", "60"]) == 3
    error = capsys.readouterr().err
    assert "no frame from the camera: env:DOOR_URL: connection refused" in error
    assert "127.0.0.1" not in error


def test_one_that_is_waited_for(
    capsys: pytest.CaptureFixture[str], free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"listen://127.0.0.1:{free_port}/door"
    monkeypatch.setenv("UNDERCAM_SOURCE__OPEN_TIMEOUT_S", "0.5")
    assert run(["analyze", url, "--seconds", "0.5"]) == 3
    assert "no camera has connected yet" in capsys.readouterr().err
    monkeypatch.setenv("UNDERCAM_SOURCE__OPEN_TIMEOUT_S", "60")
    with pushing(f"rtsp://127.0.0.1:{free_port}/door"):
        assert run(["analyze", url, "--seconds", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["camera"] == "127-0-0-1"


def test_a_file_is_read_to_its_end(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["analyze", str(tmp_path / "a.mp4"), "--seconds", "1"]) == 2
    assert "leave out --seconds" in capsys.readouterr().err


@pytest.mark.parametrize("webcam", ["webcam:77", "/dev/video77"])
def test_a_webcam_that_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, webcam: str
) -> None:
    monkeypatch.setattr("pipeline.stages.source.address.CONTAINER_MARKS", ())
    for name in ("container", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert run(["analyze", webcam]) == 3
    assert "no such webcam: /dev/video77: plug it in" in capsys.readouterr().err
    monkeypatch.setenv("container", "podman")
    assert run(["analyze", webcam]) == 3
    assert "--device /dev/video77" in capsys.readouterr().err


def test_when_to_stop() -> None:
    now_s, source = [0.0], Source(ConnectionState("connecting", 0))
    until = ReadLimit(source, "door", 2.0, now=lambda: now_s[0])
    assert not until()
    now_s[0], source.decoded = 100.0, 1
    assert not until()
    source.connection_state = ConnectionState("offline", 0, "network down")  # it comes back, or not
    now_s[0] += 1.9
    assert not until()
    now_s[0] += 0.2
    assert until()


@pytest.mark.parametrize("state", ["offline", "refused"])
def test_when_to_give_up(state: Any) -> None:
    now_s, source = [0.0], Source(ConnectionState("connecting", 0))
    called = ReadLimit(source, "door", 2.0, now=lambda: now_s[0])
    waited = ReadLimit(source, "door", 2.0, patience_s=2.0, now=lambda: now_s[0])
    assert not called()
    assert not waited()
    source.connection_state = ConnectionState(state, 0, "for a reason")
    with pytest.raises(InputError, match="no frame from the camera: door: for a reason"):
        called()
    assert not waited()
    now_s[0] = 2.0
    with pytest.raises(InputError, match="for a reason"):
        waited()


@pytest.mark.parametrize(
    ("clip", "name"),
    [
        ("rtsp://ann:hunter2@cam.local:554/live?t=hunter2", "cam-local"),
        ("listen://0.0.0.0:8554/hunter2", "0-0-0-0"),
        ("file:/run/secrets/front_door", "front_door"),
        ("env:PW", "pw"),
        ("webcam:0", "webcam-0"),
        ("clips/Haustür №2.mp4", "haust-r-2"),
        ("...", "clip"),
    ],
)
def test_a_name_for_any_address(clip: str, name: str) -> None:
    assert default_name(clip, "") == name
