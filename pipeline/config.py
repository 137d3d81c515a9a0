"""Every setting, read once: defaults, then one TOML file, then `UNDERCAM_...` in the environment.

`UNDERCAM_STORE__URL=...` overrides `[store] url`. An unknown key is refused with a suggestion.
A secret is a reference, `env:NAME` or `file:PATH`: `resolve` reads it where it is used.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pipeline.errors import ConfigError
from pipeline.records import CameraId

Share = Annotated[float, Field(ge=0, le=1)]
ENV_PREFIX = "UNDERCAM_"
NOT_SETTINGS = {"UNDERCAM_CI", "UNDERCAM_DATA", "UNDERCAM_DEBUG"}
"""Variables with our prefix that are for the tests, or for whoever looks for a fault."""


class Section(BaseModel):
    """One table of the TOML file: closed, immutable, every key described, every number finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SourceSettings(Section):
    """How pictures are read."""

    analyse_fps: float = Field(
        0.0, ge=0, le=240, description="Frames analysed in a second of media time; 0: all of them."
    )


class DetectorSettings(Section):
    """How faces are found."""

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
    look_twice: bool = Field(
        True, description="Look again, at another size, at a picture in which no face was found."
    )
    threads: int = Field(0, ge=0, description="CPU threads of the network; 0: all cores.")
    condition: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Smooth and stretch pictures before detection: auto, where they need it.",
    )
    least_px: int = Field(16, ge=4, description="A face whose shorter side is less is left out.")


class TrackerSettings(Section):
    """How boxes become tracks, in media seconds."""

    start_score: Share = Field(
        0.4,
        description="Least detector score that begins a track; weaker boxes only go on with one.",
    )
    least_iou: Share = Field(0.2, description="Overlap with its predicted place that keeps a face.")
    reach: float = Field(
        2.0, ge=0, le=10, description="Or: distance from there, in box sides, at the very most."
    )
    birth_s: float = Field(0.15, ge=0, description="Seconds a face is seen before it is a track.")
    lost_s: float = Field(0.8, ge=0, description="Seconds without a box that end a track.")


class CropSettings(Section):
    """How faces are cut out, and a noisy camera's looks at one face gathered."""

    gather_s: float = Field(
        1.0, ge=0, le=10, description="Seconds of looks that are averaged into one; 0: never."
    )
    gather_most: int = Field(8, ge=1, le=64, description="Most looks that are averaged.")
    gather_noise: Share = Field(
        0.03, description="Noise of a crop, a share of full light, above which looks are gathered."
    )


class EmotionSettings(Section):
    """How faces are classified."""

    weights: str = Field("resnet18-w32", description="A name in models/zoo or a safetensors file.")
    flip: bool = Field(True, description="Average each crop with its mirror image.")
    device: str = Field("cpu", description="Where the network runs: cpu or cuda[:N].")
    threads: int = Field(1, ge=0, description="CPU threads of the network; 0: all cores.")


class SmootherSettings(Section):
    """How the looks of one track become one label."""

    memory_s: float = Field(0.6, gt=0, description="Seconds after which a look counts 1/e.")
    unknown_below: Share = Field(0.4, description="Below this confidence the label is `unknown`.")
    switch_margin: Share = Field(
        0.05, description="How far a new label must lead before it replaces the shown one."
    )


class StoreSettings(Section):
    """Where rows go."""

    url: str = Field(
        "sqlite:///state/undercam.db", description="SQLAlchemy URL, or a reference to one."
    )
    batch_rows: int = Field(500, ge=1, le=50_000, description="Most events in one transaction.")
    busy_timeout_s: float = Field(5.0, ge=0, description="Seconds to wait for a locked database.")


class DashboardSettings(Section):
    """The pages."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8501, ge=0, le=65535, description="Port to listen on; 0: a free one.")
    refresh_s: float = Field(2.0, ge=0.5, description="Seconds between two refreshes.")


class CameraSettings(Section):
    """One camera."""

    url: str = Field(description="File, device or stream address, or a reference to one.")


class Settings(BaseSettings):
    """All settings in force."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_nested_delimiter="__"
    )

    source: SourceSettings = SourceSettings()
    detector: DetectorSettings = DetectorSettings()
    tracker: TrackerSettings = TrackerSettings()
    crop: CropSettings = CropSettings()
    emotion: EmotionSettings = EmotionSettings()
    smoother: SmootherSettings = SmootherSettings()
    store: StoreSettings = StoreSettings()
    dashboard: DashboardSettings = DashboardSettings()
    cameras: dict[CameraId, CameraSettings] = {}


def load(path: str | Path | None = None, **overrides: Any) -> Settings:
    """The settings in force, strongest first: overrides, the environment, the TOML file, defaults.

    Raises ConfigError that names the key, and the nearest known one where a key is unknown.
    """

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            file = TomlConfigSettingsSource(settings_cls, toml_file=path)
            return init_settings, env_settings, file

    where = str(path or "settings")
    if path is not None and not Path(path).is_file():
        raise ConfigError(
            "no such configuration file", where, "give the path of a TOML file; see --help"
        )
    _refuse_unknown_variables()
    try:
        return Settings.model_validate(FromFile(**overrides).model_dump())
    except OSError as error:
        raise ConfigError("configuration not readable", where, str(error.strerror)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("not a TOML file", where, f"mend its syntax ({error})") from error
    except SettingsError as error:
        remedy = f"set one key, such as {ENV_PREFIX}STORE__URL ({error})"
        raise ConfigError("a section's variable is not JSON", "environment", remedy) from error
    except ValidationError as error:
        raise _explained(error, where) from error


def resolve(reference: str) -> str:
    """What `env:NAME` or `file:PATH` refers to; any other text is itself.

    Raises ConfigError when the variable is not set or the file cannot be read.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        if name not in os.environ:
            raise ConfigError("secret not set", reference, f"set the environment variable {name}")
        return os.environ[name]
    if kind == "file":
        try:
            return Path(name).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError("secret not readable", reference, str(error.strerror)) from error
        except UnicodeDecodeError as error:
            raise ConfigError("secret not readable", reference, "save it as UTF-8") from error
    return reference


def _refuse_unknown_variables() -> None:
    """pydantic overlooks a variable of no section, so a slip there would be silent."""
    known = [
        f"{ENV_PREFIX}{section}__{key}".upper()
        for section in Settings.model_fields
        for key in _known_keys((section,))
    ]
    for name in os.environ:
        section = name.lower().removeprefix(ENV_PREFIX.lower()).partition("__")[0]
        ours = name.upper().startswith(ENV_PREFIX) and name not in NOT_SETTINGS
        if ours and section not in Settings.model_fields:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            remedy = f"did you mean {near[0]}?" if near else "unset it"
            raise ConfigError(f"unknown variable {name}", "environment", remedy)


def _explained(error: ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(first["loc"][:-1]), n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "remove it; see undercam.example.toml"
        return ConfigError(f"unknown key {key!r}", where, remedy)
    return ConfigError(f"bad value for {key!r}", where, str(first["msg"]))


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    fields = Settings.model_fields
    for key in place:
        section = fields[str(key)].annotation if str(key) in fields else None
        if not (isinstance(section, type) and issubclass(section, Section)):
            return list(CameraSettings.model_fields)
        fields = section.model_fields
    return list(fields)
