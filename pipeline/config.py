"""Every setting, read once: defaults, then one TOML file, then `UNDERCAM_...` in the environment.

`UNDERCAM_STORE__URL=...` overrides `[store] url`. An unknown key is refused with a suggestion.
A secret is a reference, `env:NAME` or `file:PATH`: `resolve` reads it where it is used.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pipeline.camera_names import suggest_camera_name
from pipeline.errors import ConfigError
from pipeline.fields import bounds_of
from pipeline.observation_settings import OBSERVATION_SECTIONS, encode_changes
from pipeline.records import CameraId
from pipeline.references import resolve
from pipeline.service_settings import (
    BusSettings,
    ClusterSettings,
    DashboardSettings,
    MetricsSettings,
    OutboxSettings,
    PoolSettings,
    StoreSettings,
    WorkersSettings,
)
from pipeline.settings import (
    CameraSettings,
    CropSettings,
    DetectorSettings,
    EmotionSettings,
    Section,
    SmootherSettings,
    SourceSettings,
    TrackerSettings,
)

__all__ = ["Settings", "load", "resolve"]
ENV_PREFIX = "UNDERCAM_"
NOT_SETTINGS = {"UNDERCAM_CI", "UNDERCAM_DATA", "UNDERCAM_DEBUG", "UNDERCAM_ENCODERS"}
"""Variables with our prefix that are for the tests, or for whoever looks for a fault."""


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
    pool: PoolSettings = PoolSettings()
    workers: WorkersSettings = WorkersSettings()
    outbox: OutboxSettings = OutboxSettings()
    bus: BusSettings = BusSettings()
    store: StoreSettings = StoreSettings()
    dashboard: DashboardSettings = DashboardSettings()
    metrics: MetricsSettings = MetricsSettings()
    cluster: ClusterSettings = ClusterSettings()
    cameras: dict[CameraId, CameraSettings] = {}

    def observation_settings(self, under_display: bool | None = None) -> str:
        """The settings that decide a file's observations, with its camera's `under_display`.

        As JSON: it is hashed into the run's id. Only what differs from its default is in it, so a
        setting that a later release adds leaves the ids of earlier runs as they are.
        """
        sections = {name: getattr(self, name) for name in OBSERVATION_SECTIONS}
        fps = self.source.analyse_fps or None
        return encode_changes(sections, analyse_fps=fps, under_display=under_display)


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


def _refuse_unknown_variables() -> None:
    """pydantic overlooks a variable of no section, so a slip there would be silent."""
    known = [
        f"{section}__{key}".upper()
        for section in Settings.model_fields
        for key in _known_keys((section,))
    ]
    for name in os.environ:
        key = name.upper().removeprefix(ENV_PREFIX)
        section = key.lower().partition("__")[0]
        ours = name.upper().startswith(ENV_PREFIX) and name not in NOT_SETTINGS
        if ours and section not in Settings.model_fields:
            near = difflib.get_close_matches(key, known, n=1)
            remedy = f"did you mean {ENV_PREFIX}{near[0]}?" if near else "unset it"
            raise ConfigError(f"unknown variable {name}", "environment", remedy)


def _explained(error: ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(first["loc"][:-1]), n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "remove it; see undercam.example.toml"
        return ConfigError(f"unknown key {key!r}", where, remedy)
    if first["loc"][0] == "cameras" and first["loc"][-1] == "[key]":
        return ConfigError(
            f"bad value for {key!r}", where, suggest_camera_name(str(first["loc"][1]))
        )
    bounds = bounds_of(_schema_of(first["loc"]))
    said = str(first["msg"])
    return ConfigError(
        f"bad value for {key!r}", where, f"{said}; give {bounds}" if bounds else said
    )


def _schema_of(place: tuple[int | str, ...]) -> dict[str, Any]:
    """The JSON Schema of a key; {} of what is none."""
    section = Settings.model_fields.get(str(place[0]))
    kind: Any = CameraSettings if place[0] == "cameras" else section and section.annotation
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return {}
    found: dict[str, Any] = kind.model_json_schema()["properties"].get(str(place[-1]), {})
    return found


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    fields = Settings.model_fields
    for key in place:
        section = fields[str(key)].annotation if str(key) in fields else None
        if not (isinstance(section, type) and issubclass(section, Section)):
            return list(CameraSettings.model_fields)
        fields = section.model_fields
    return list(fields)
