"""Which source an address gets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.camera_config import CameraConfig
from pipeline.config import Settings
from pipeline.errors import ConfigError, InputError
from pipeline.settings import CameraSettings
from pipeline.stages.source.address import run_id
from pipeline.stages.source.base import Source
from pipeline.stages.source.file import VideoSource
from pipeline.stages.source.live import LiveSource
from pipeline.stages.source.looped import LoopedFile
from pipeline.stages.source.opening import open_source

SETTINGS = Settings.model_validate({"source": {"analyse_fps": 5.0}})


def open_camera(url: str, **own: str) -> Source:
    camera = CameraSettings.model_validate({"url": url, **own})
    return open_source("door", "e7", CameraConfig.of(camera, SETTINGS))


def test_a_file_to_its_end(encode: Callable[..., Path]) -> None:
    clip = encode("clip.mp4", 50)
    with closing(open_camera(str(clip), play="once")) as source:
        assert isinstance(source, VideoSource)
        assert not source.is_live
        assert source.run == run_id(clip, SETTINGS.observation_settings(None))
        analysed = sum(source.sampler.is_due(frame.header.pts_s) for frame in source)  # type: ignore[union-attr]
        counts = source.counts()
    assert (analysed, counts.decoded, counts.skipped, counts.shed) == (10, 50, 40, {})


def test_a_file_as_a_camera(encode: Callable[..., Path]) -> None:
    with closing(open_camera(str(encode("clip.mp4", 5)), play="loop")) as source:
        assert isinstance(source, LoopedFile)
        assert (source.run, source.is_live, source.fps) == ("e7", True, 5.0)
        assert all(source.sampler.is_due(0.0) for _ in range(9))  # it samples by itself


@pytest.mark.parametrize("url", ["rtsp://127.0.0.1:9/live", "http://127.0.0.1:9/video"])
def test_a_live_camera(url: str) -> None:
    with closing(open_camera(url)) as source:
        assert isinstance(source, LiveSource)
        assert (source.run, source.is_live, source.fps) == ("e7", True, 5.0)
        assert source.connection_state is not None


def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_camera(str(tmp_path / "a.mp4"), play="once")
    monkeypatch.setenv("DOOR_URL", str(tmp_path))
    with pytest.raises(ConfigError, match="not the address of a live camera"):
        open_camera("env:DOOR_URL")
