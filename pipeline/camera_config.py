"""The settings in force for one camera, made once from everybody's and its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.config import Settings
from pipeline.settings import CameraSettings


@dataclass(frozen=True)
class CameraConfig:
    """`settings`: everybody's, with the camera's own values in their place; `url`, `play` and
    `under_display` are the camera's own (see `pipeline.settings.CameraSettings`). `has_own_mode`:
    the mode is the camera's own too."""

    settings: Settings
    url: str = ""
    play: Literal["once", "loop"] = "once"
    under_display: bool | None = None
    has_own_mode: bool = False

    @classmethod
    def of(cls, own: CameraSettings, settings: Settings) -> CameraConfig:
        """Of a registered camera."""
        if own.analyse_fps is not None:
            source = settings.source.model_copy(update={"analyse_fps": own.analyse_fps})
            settings = settings.model_copy(update={"source": source})
        if own.mode is not None:
            emotion = settings.emotion.model_copy(update={"mode": own.mode})
            settings = settings.model_copy(update={"emotion": emotion})
        has_own_mode = own.mode is not None
        return cls(settings, own.url, own.play, own.under_display, has_own_mode)

    @property
    def observation_key(self) -> str:
        """As JSON, what decides the observations of a file: its run is named after it."""
        return self.settings.observation_settings(self.under_display)
