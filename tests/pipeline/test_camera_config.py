"""A camera's own values stand in the place of everybody's, and nothing else changes."""

from __future__ import annotations

from pipeline.camera_config import CameraConfig
from pipeline.config import load
from pipeline.settings import CameraSettings


def test_a_camera_without_values_of_its_own_has_everybodys() -> None:
    settings = load(source={"analyse_fps": 5.0})
    config = CameraConfig.of(CameraSettings(url="rtsp://10.0.0.7/live"), settings)
    assert config == CameraConfig(settings, "rtsp://10.0.0.7/live")
    assert config.observation_key == settings.observation_settings()


def test_its_own_values_count() -> None:
    settings = load(source={"analyse_fps": 5.0, "max_age_s": 1.5})
    own = CameraSettings(url="clip.mp4", analyse_fps=2.0, under_display=True, play="loop")
    config = CameraConfig.of(own, settings)
    assert (config.url, config.play, config.under_display) == ("clip.mp4", "loop", True)
    assert config.settings.source == settings.source.model_copy(update={"analyse_fps": 2.0})
    assert config.settings.model_copy(update={"source": settings.source}) == settings
    # The run of a file is named after what decides its observations.
    keys = {
        config.observation_key,
        settings.observation_settings(),
        config.settings.observation_settings(),
    }
    assert len(keys) == 3


def test_a_route_that_the_mode_does_not_use_names_no_run() -> None:
    """Robust, configured for one camera, leaves the runs of all other files as they are."""
    robust = {"weights": "lrdif"}
    plain, settings = load(), load(emotion={"routes": {"robust": robust}})
    everybodys = CameraConfig.of(CameraSettings(url="a.mp4"), settings)
    assert everybodys.observation_key == plain.observation_settings()
    own = CameraConfig.of(CameraSettings(url="a.mp4", mode="auto"), settings)
    assert '"robust":{"weights":"lrdif"}' in own.observation_key
    auto = load(emotion={"mode": "auto", "routes": {"robust": robust}})
    fast = CameraConfig.of(CameraSettings(url="a.mp4", mode="fast"), auto)
    assert fast.observation_key == plain.observation_settings()
    assert (own.has_own_mode, fast.has_own_mode, everybodys.has_own_mode) == (True, True, False)
