"""Which settings are paths, and what is said on a machine that lacks the command's folder."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.live.engine import Job
from pipeline.local_paths import is_sqlite, paths_of, paths_of_camera
from pipeline.settings import CameraSettings


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


@pytest.mark.parametrize(
    ("part", "values", "paths"),
    [
        ("outbox", {}, {"outbox.folder": "state/outbox"}),
        ("store", {}, {"store.url": "state/undercam.db"}),
        ("store", {"url": "sqlite:////srv/a.db?timeout=3"}, {"store.url": "/srv/a.db"}),
        ("store", {"url": "file:secrets/url"}, {"store.url": "secrets/url"}),
        ("store", {"url": "env:STORE_URL"}, {}),
        ("store", {"url": "postgresql://a@b/c"}, {}),
        (
            "bus",
            {"url": "kafka://a:1", "password": "file:kafka.password", "ca_file": "ca.pem"},
            {"bus.password": "kafka.password", "bus.ca_file": "ca.pem"},
        ),
        ("detector", {"model": "yunet.onnx"}, {"detector.model": "yunet.onnx"}),
    ],
)
def test_the_paths_of_a_part(part: str, values: dict[str, Any], paths: dict[str, str]) -> None:
    assert paths_of(settings(**{part: values}), part) == paths


def test_weights_are_a_path_unless_they_are_a_name_of_the_zoo() -> None:
    fast = {"weights": "mine.safetensors", "degraded_weights": "resnet18-w36-udc"}
    made = settings(emotion={"routes": {"fast": fast}})
    assert paths_of(made, "emotion.routes.fast") == {
        "emotion.routes.fast.weights": "mine.safetensors"
    }


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("clip.mp4", "clip.mp4"),
        ("file:///srv/clip.mp4", "/srv/clip.mp4"),
        ("file:secrets/door", "secrets/door"),
        ("env:DOOR_URL", None),
        ("rtsp://10.0.0.7/live", None),
        ("webcam:0", None),
        ("gopher://x/y", None),
    ],
)
def test_the_path_of_a_camera(url: str, path: str | None) -> None:
    assert paths_of_camera(CameraSettings(url=url)) == ({"url": path} if path else {})


def test_which_databases_are_sqlite_files() -> None:
    assert is_sqlite("sqlite:///state/a.db")
    assert is_sqlite("sqlite+pysqlite:////srv/a.db")
    assert not is_sqlite("postgresql+psycopg://a@b/c")


def test_relative_paths_without_the_folder_are_refused_with_machine_setting_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "elsewhere"
    job = Job(settings(), home=home)
    with pytest.raises(ConfigError) as caught:
        job.enter_home("outbox", "store")
    said = str(caught.value)
    assert f"machine {socket.gethostname()} lacks the folder" in said
    assert "outbox.folder = 'state/outbox', store.url = 'state/undercam.db' are relative" in said
    assert f": {home}: make that folder there, or give absolute paths" in said
    with pytest.raises(ConfigError, match="url = 'clip.mp4' is relative"):
        job.check_camera(CameraSettings(url="clip.mp4"))
    home.mkdir()
    job.enter_home("outbox", "store")
    job.check_camera(CameraSettings(url="clip.mp4"))
    assert Path.cwd() == home


def test_absolute_paths_need_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = settings(
        outbox={"folder": str(tmp_path / "outbox")}, store={"url": "postgresql://a@b/c"}
    )
    job = Job(made, home=tmp_path / "elsewhere")
    job.enter_home("outbox", "store", "emotion.routes.fast", "bus", "source", "detector")
    job.check_camera(CameraSettings(url=str(tmp_path / "clip.mp4")))
    assert Path.cwd() == tmp_path
