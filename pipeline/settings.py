"""The sections of the settings that decide what is observed: one class a table of the TOML file."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.frame_size import DEFAULT_LIMIT, FrameLimit
from pipeline.renamed_keys import rename_keys

Share = Annotated[float, Field(ge=0, le=1)]


Mode = Literal["fast", "robust", "auto"]
"""Which routes classify a camera's faces: one, or both (see `pipeline.stages.route`)."""


class Section(BaseModel):
    """One table of the TOML file: closed, immutable, every key described, every number finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    OLD_NAMES: ClassVar[dict[str, str]] = {}
    """Keys of the release before and their names of today. Read for one release, with a warning."""

    @model_validator(mode="before")
    @classmethod
    def _rename_old_keys(cls, values: Any) -> Any:
        """A key under its old name; where both are given, the new one is taken."""
        return rename_keys(values, cls.OLD_NAMES) if isinstance(values, dict) else values


class SourceSettings(Section):
    """How frames are read, and what happens to a live camera that is late or silent."""

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
        0.0, ge=0, le=240, description="Frames analysed per second of media time; 0: all of them."
    )
    decode_skipped: bool = Field(
        True,
        description="Whether frames of a live camera that analyse_fps skips are decoded even where "
        "no analysed frame needs them.",
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
        description="Age in seconds above which a live frame is shed, not analysed.",
    )
    retry_min_s: float = Field(
        0.5,
        ge=0.01,
        le=3600,
        description="Seconds before the first attempt to reconnect; doubled after each attempt.",
    )
    retry_max_s: float = Field(
        30.0,
        ge=0.01,
        le=3600,
        description="Longest pause in seconds between two attempts to reconnect.",
    )
    tls_verify: bool = Field(
        True, description="Whether the certificate of an rtsps:// or https:// camera is verified."
    )
    ca_file: str = Field(
        "", description="PEM file of the certificate authority for cameras; empty: the system's."
    )
    secret_variables: tuple[str, ...] = Field(
        ("*_URL",),
        description="Patterns of the environment variables that a camera in the database may refer "
        "to; a camera in this file may refer to any.",
    )
    secrets_folder: str = Field(
        "/run/secrets",
        description="Folder of the files that a camera in the database may refer to; empty: none.",
    )
    max_side_px: int = Field(
        DEFAULT_LIMIT.side_px,
        ge=16,
        le=65_535,
        description="Longest side of a frame in pixels; a larger frame is not decoded.",
    )
    max_megapixels: float = Field(
        DEFAULT_LIMIT.megapixels,
        gt=0,
        le=1000,
        description="Largest area of a frame in megapixels; a larger frame is not decoded.",
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
    model: str = Field("", description="Path of the detector's network, where it is not bundled.")
    frame_px: int = Field(
        448, ge=96, le=4096, description="Longer side of the detector's input in pixels."
    )
    threshold: Share | None = Field(
        None, description="Lowest detector score of a face; unset: the detector's own default."
    )
    second_scale: bool = Field(
        True, description="Detect again at another scale where no face was found."
    )
    full_search_s: float | None = Field(
        None,
        ge=0,
        le=60,
        description="Seconds between two searches of a whole frame; in between only the "
        "surroundings of known faces are searched. 0: every frame is searched whole; unset: 0.8 "
        "for live cameras, 0 for files.",
    )
    change_levels: float = Field(
        6.0,
        ge=0,
        le=255,
        description="Grey levels, of 255, by which the surroundings of a face must change to be "
        "searched again before the next whole search; 0: they always are.",
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of the detector; 0: all cores.")
    conditioning: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Reduce noise and haze before detection; auto: only in frames that need it.",
    )
    min_face_px: int = Field(
        16,
        ge=4,
        le=4096,
        description="Shortest side of a face in pixels; smaller faces are ignored.",
    )


class TrackerSettings(Section):
    """How detected boxes become tracks; all times are media time."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "least_iou": "min_iou",
        "reach": "max_distance",
        "birth_s": "confirm_s",
    }

    start_score: Share = Field(
        0.4,
        description="Lowest detector score that starts a track; weaker boxes only continue one.",
    )
    min_iou: Share = Field(
        0.2, description="Lowest IoU of a box with the predicted box of its track."
    )
    max_distance: float = Field(
        2.0,
        ge=0,
        le=10,
        description="Largest distance from the predicted box, in box sides, without overlap.",
    )
    confirm_s: float = Field(
        0.15,
        ge=0,
        le=60,
        description="Seconds a face is detected before it is a track; 0 for clips up to a second.",
    )
    lost_s: float = Field(
        0.8, ge=0, le=3600, description="Seconds without a box after which a track ends."
    )


class CropSettings(Section):
    """How faces are cropped, and noisy crops of one track averaged."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "gather_s": "fuse_s",
        "gather_most": "fuse_max",
        "gather_noise": "fuse_noise",
    }

    fuse_s: float = Field(
        1.0, ge=0, le=10, description="Seconds of a track's crops that are averaged; 0: never."
    )
    fuse_max: int = Field(8, ge=1, le=64, description="Largest number of crops that are averaged.")
    fuse_noise: Share = Field(
        0.03, description="Noise, as a share of full scale, above which crops are averaged."
    )


class SmootherSettings(Section):
    """How the observations of one track become one label."""

    OLD_NAMES: ClassVar[dict[str, str]] = {
        "memory_s": "time_constant_s",
    }

    time_constant_s: float = Field(
        0.6, ge=0.001, le=3600, description="Seconds after which an observation counts 1/e."
    )
    unknown_below: Share = Field(0.4, description="Confidence below which the label is `unknown`.")
    switch_margin: Share = Field(
        0.05, description="Lead in confidence that a new label needs to replace the current one."
    )


class CameraSettings(Section):
    """One camera."""

    url: str = Field(
        min_length=1,
        max_length=2048,
        description="rtsp(s)://, http(s)://, listen://HOST:PORT/NAME, a file or a device; with a "
        "password: a reference.",
    )
    display_name: str = Field(
        "", max_length=200, description="Name on the pages, of any characters; empty: the id."
    )
    purpose: str = Field(
        "", max_length=500, description="What the camera is for, for the people in front of it."
    )
    enabled: bool = Field(True, description="Whether the camera is read.")
    under_display: bool | None = Field(
        None,
        description="Whether the camera is under a display: its faces are classified by the "
        "route's degraded_weights, its frames are conditioned; unset: decided by noise.",
    )
    mode: Mode | None = Field(
        None, description="Routes that classify its faces; unset: emotion.mode."
    )
    analyse_fps: float | None = Field(
        None, ge=0, le=240, description="Frames analysed per second; unset: source.analyse_fps."
    )
    play: Literal["once", "loop"] = Field(
        "once",
        description="A file is played once, without shedding, or in a loop, as a live camera.",
    )
    keep_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="Days after which its observations and tracks are deleted; unset: "
        "store.keep_days.",
    )

    def for_reading(self) -> CameraSettings:
        """The settings that whoever reads the camera needs: if only others change, it goes on."""
        return self.model_copy(update={"display_name": "", "purpose": "", "keep_days": None})
