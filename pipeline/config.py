"""Every setting, read once: defaults, then one TOML file, then `UNDERCAM_...` in the environment.

`UNDERCAM_STORE__URL=...` overrides `[store] url`. An unknown key is refused with a suggestion. A
secret is a reference, `env:NAME` or `file:PATH`, resolved where it is used and never printed.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import ConfigError
from pipeline.records import CameraId

Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One table of the TOML file: closed, immutable, every key with a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceSettings(Section):
    """How pictures are read."""

    analyse_fps: float = Field(
        0.0, ge=0, le=240, description="Frames a second of media time that are analysed; 0 means
        all."
    )
    realtime: bool = Field(False, description="Play a file at its own pace instead of at once.")


class DetectorSettings(Section):
    """How faces are found."""

    name: Literal["centerface", "scrfd", "yunet"] = Field(
        "centerface", description="centerface needs no download; scrfd and yunet need `model`."
    )
    model: str = Field("", description="Path of the detector's network, where it is not bundled.")
    frame_px: int = Field(
        448, ge=96, le=4096, description="Longer side of the frame that the detector sees, pixels."
    )
    threshold: Share = Field(0.3, description="Least detector score of a face.")
    least_px: int = Field(16, ge=4, description="Smaller faces (shorter box side, pixels) are
    left.")


class TrackerSettings(Section):
    """How boxes become tracks, in media seconds."""

    least_iou: Share = Field(0.2, description="Least overlap of a box with its predicted place.")
    birth_s: Seconds = Field(0.15, description="Seconds a face must be seen before it is a track.")
    lost_s: Seconds = Field(0.8, description="Seconds without a box after which a track ends.")


class EmotionSettings(Section):
    """How faces are classified."""

    weights: str = Field("resnet18-w32", description="A name in models/zoo, or a .safetensors
    file.") mode: Literal["fast", "robust", "auto"] = Field("auto", description="Which classifier
    is asked.") flip: bool = Field(True, description="Average each crop with its mirror image.")
    device: str = Field("cpu", description="Where the network runs: cpu or cuda[:N].")
    threads: int = Field(0, ge=0, description="CPU threads of torch; 0 leaves torch's own choice.")


class SmootherSettings(Section):
    """How the looks of one track become one label."""

    memory_s: Annotated[float, Field(gt=0)] = Field(
        0.6, description="Seconds after which a look counts 1/e of what it did."
    )
    unknown_below: Share = Field(0.4, description="Below this confidence the label is `unknown`.")
    switch_margin: Share = Field(
        0.05, description="How far a new label must lead before it takes over from the shown one."
    )


class StoreSettings(Section):
    """Where rows go."""

    url: str = Field(
        "sqlite:///state/undercam.db", description="SQLAlchemy URL, or env:NAME / file:PATH of one."
    )
    batch_rows: int = Field(500, ge=1, le=50_000, description="Most events in one transaction.")
    busy_timeout_s: Seconds = Field(5.0, description="Seconds to wait for a locked database.")


class DashboardSettings(Section):
    """The pages."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8501, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    refresh_s: Annotated[float, Field(ge=0.5)] = Field(2.0, description="Seconds between
    refreshes.")


class CameraSettings(Section):
    """One camera."""

    url: str = Field(description="File, device or stream address, or env:NAME / file:PATH of one.")


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="UNDERCAM_", env_nested_delimiter="__"
    )

    source: SourceSettings = SourceSettings()
    detector: DetectorSettings = DetectorSettings()
    tracker: TrackerSettings = TrackerSettings()
    emotion: EmotionSettings = EmotionSettings()
    smoother: SmootherSettings = SmootherSettings()
    store: StoreSettings = StoreSettings()
    dashboard: DashboardSettings = DashboardSettings()
    cameras: dict[CameraId, CameraSettings] = {}
