"""The sections of the settings that decide what is observed: one class a table of the TOML file."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.frame_size import DEFAULT_LIMIT, FrameLimit
from pipeline.errors import RenamedSetting

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One table of the TOML file: closed, immutable, every key described, every number finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    OLD_NAMES: ClassVar[dict[str, str]] = {}
    """Keys of the release before and their names of today. Read for one release, with a warning."""

    @model_validator(mode="before")
    @classmethod
    def _rename_old_keys(cls, values: Any) -> Any:
        """A key under its old name; where both are given, the new one is taken."""
        if not isinstance(values, dict):
            return values
        for old, new in cls.OLD_NAMES.items():
            if old in values:
                warnings.warn(f"setting {old!r}: renamed: call it {new!r}", RenamedSetting, 2)
                values = {new: values[old]} | {k: v for k, v in values.items() if k != old}
        return values


class SourceSettings(Section):
    """How pictures are read, and what becomes of a live camera that is late or silent."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "open_s": "open_timeout_s",
        "read_s": "read_timeout_s",
        "stale_s": "max_age_s",
        "retry_least_s": "retry_min_s",
        "retry_most_s": "retry_max_s",
        "most_side_px": "max_side_px",
        "most_megapixels": "max_megapixels",
    }

    analyse_fps: float = Field(
        0.0, ge=0, le=240, description="Frames analysed in a second of media time; 0: all of them."
    )
    open_timeout_s: float = Field(
        10.0, ge=0.1, le=300, description="Seconds a stream may take to open."
    )
    read_timeout_s: float = Field(
        3.0, ge=0.1, le=300, description="Seconds without a packet after which a stream is lost."
    )
    max_age_s: float = Field(
        2.0,
        gt=0,
        le=300,
        description="Age in seconds past which a live picture is shed, not analysed.",
    )
    retry_min_s: float = Field(
        0.5,
        ge=0.01,
        le=3600,
        description="Seconds before the first try to reconnect, doubled at each try.",
    )
    retry_max_s: float = Field(
        30.0, ge=0.01, le=3600, description="Most seconds between two tries."
    )
    tls_verify: bool = Field(
        True, description="Whether the certificate of an rtsps:// or https:// camera is checked."
    )
    ca_file: str = Field(
        "", description="PEM file of the authority for cameras; unset: the system's."
    )
    secret_variables: tuple[str, ...] = Field(
        ("*_URL",),
        description="Patterns of the variables that a camera of the database may refer to; a "
        "reference in this file may be any.",
    )
    secrets_folder: str = Field(
        "/run/secrets",
        description="Folder of the files that a camera of the database may refer to; empty: none.",
    )
    max_side_px: int = Field(
        DEFAULT_LIMIT.side_px,
        ge=16,
        le=65_535,
        description="Pixels of a frame's longer side; a larger one is refused, not decoded.",
    )
    max_megapixels: float = Field(
        DEFAULT_LIMIT.megapixels,
        gt=0,
        le=1000,
        description="Millions of pixels of a frame; a larger one is refused, not decoded.",
    )

    @property
    def frame_limit(self) -> FrameLimit:
        """The largest frame that is decoded."""
        return FrameLimit(self.max_side_px, self.max_megapixels)


class DetectorSettings(Section):
    """How faces are found."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "look_twice": "second_scale",
        "condition": "conditioning",
        "least_px": "min_face_px",
    }

    name: Literal["centerface", "scrfd", "yunet"] = Field(
        "centerface", description="centerface comes with the package; scrfd and yunet need `model`."
    )
    model: str = Field("", description="Path of the network, where it is not bundled.")
    frame_px: int = Field(
        448, ge=96, le=4096, description="Longer side of the frame that the detector sees, pixels."
    )
    threshold: Share | None = Field(
        None, description="Least detector score of a face; unset: the detector's own default."
    )
    second_scale: bool = Field(
        True, description="Look again, at another size, at a picture in which no face was found."
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of the network; 0: all cores.")
    conditioning: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Take noise and haze off pictures before detection: auto, where they need it.",
    )
    min_face_px: int = Field(
        16, ge=4, le=4096, description="A face whose shorter side is less is left out."
    )


class TrackerSettings(Section):
    """How boxes become tracks, in media seconds."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "least_iou": "min_iou",
        "reach": "max_distance",
        "birth_s": "confirm_s",
    }

    start_score: Share = Field(
        0.4,
        description="Least detector score that begins a track; weaker boxes only go on with one.",
    )
    min_iou: Share = Field(0.2, description="Overlap with its predicted place that keeps a face.")
    max_distance: float = Field(
        2.0, ge=0, le=10, description="Or: distance from there, in box sides, at the very most."
    )
    confirm_s: float = Field(
        0.15,
        ge=0,
        le=60,
        description="Seconds a face is seen before it is a track; 0 in a clip of a second or less.",
    )
    lost_s: float = Field(0.8, ge=0, le=3600, description="Seconds without a box that end a track.")


class CropSettings(Section):
    """How faces are cut out, and a noisy camera's looks at one face gathered."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "gather_s": "fuse_s",
        "gather_most": "fuse_max",
        "gather_noise": "fuse_noise",
    }

    fuse_s: float = Field(
        1.0, ge=0, le=10, description="Seconds of looks that are averaged into one; 0: never."
    )
    fuse_max: int = Field(8, ge=1, le=64, description="Most looks that are averaged.")
    fuse_noise: Share = Field(
        0.03, description="Noise of a crop, a share of full light, above which looks are gathered."
    )


WEIGHTS = ("resnet18-w36", "resnet18-w32", "lrdif")
"""The weights in models/zoo, the ones that serve unless others are asked for first; `-udc` behind a
name: the same network's for bad pictures."""


class EmotionSettings(Section):
    """How faces are classified."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "weights_bad": "degraded_weights",
        "bad_noise": "degraded_noise",
    }

    weights: str = Field(WEIGHTS[0], description="A name in models/zoo or a safetensors file.")
    degraded_weights: str | None = Field(
        None,
        description="Other weights for faces in bad pictures, as behind a display; empty: none; "
        f"unset: NAME-udc beside {', '.join(WEIGHTS)}; none beside others.",
    )
    degraded_noise: Share = Field(
        0.024, description="Noise of a track's looks, a share of full light, above which it is bad."
    )
    flip: bool = Field(True, description="Average each crop with its mirror image.")
    draws: int = Field(
        1, ge=1, le=64, description="Starts drawn for a face and averaged, by a model that draws."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Number format of the network; bfloat16 where the processor runs it.",
    )
    device: str = Field("cpu", description="Where the network runs: cpu or cuda[:N].")
    threads: int = Field(1, ge=0, le=1024, description="CPU threads of the network; 0: all cores.")

    @property
    def bad(self) -> str:
        """The weights for bad pictures; empty: none."""
        if self.degraded_weights is None:
            return f"{self.weights}-udc" if self.weights in WEIGHTS else ""
        return self.degraded_weights


class SmootherSettings(Section):
    """How the looks of one track become one label."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "memory_s": "time_constant_s",
    }

    time_constant_s: float = Field(
        0.6, ge=0.001, le=3600, description="Seconds after which a look counts 1/e."
    )
    unknown_below: Share = Field(0.4, description="Below this confidence the label is `unknown`.")
    switch_margin: Share = Field(
        0.05, description="How far a new label must lead before it replaces the shown one."
    )


class CameraSettings(Section):
    """One camera."""

    url: str = Field(
        min_length=1,
        max_length=2048,
        description="rtsp(s)://, http(s)://, listen://HOST:PORT/NAME, a file or a device; with a "
        "password in it, a reference.",
    )
    enabled: bool = Field(True, description="Whether it is read.")
    under_display: bool | None = Field(
        None,
        description="Whether emotion.degraded_weights classify its faces, and every frame is "
        "conditioned before detection; unset: decided by their noise.",
    )
    analyse_fps: float | None = Field(
        None, ge=0, le=240, description="Instead of source.analyse_fps."
    )
    play: Literal["once", "loop"] = Field(
        "once", description="A file: once, nothing shed; or again and again, as a live camera."
    )
