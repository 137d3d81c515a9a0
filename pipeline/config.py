"""Every setting, read once: defaults, then one TOML file, then `UNDERCAM_...` in the environment.

`UNDERCAM_STORE__URL=...` overrides `[store] url`. An unknown key is refused with a suggestion.
A secret is a reference, `env:NAME` or `file:PATH`: `resolve` reads it where it is used.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pipeline.camera_names import suggest_camera_name
from pipeline.emotion_settings import OLD_POOL, EmotionSettings
from pipeline.errors import ConfigError
from pipeline.fields import bounds_of
from pipeline.http_settings import ControlSettings, DashboardSettings, MetricsSettings
from pipeline.observation_settings import OBSERVATION_SECTIONS, encode_changes
from pipeline.records import CameraId
from pipeline.references import resolve
from pipeline.renamed_keys import rename_keys
from pipeline.service_settings import (
    BusSettings,
    ClusterSettings,
    DiscoverySettings,
    MqttSettings,
    OutboxSettings,
    StoreSettings,
    WorkersSettings,
)
from pipeline.settings import (
    CameraSettings,
    CropSettings,
    DetectorSettings,
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
    workers: WorkersSettings = WorkersSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    outbox: OutboxSettings = OutboxSettings()
    bus: BusSettings = BusSettings()
    mqtt: MqttSettings = MqttSettings()
    store: StoreSettings = StoreSettings()
    dashboard: DashboardSettings = DashboardSettings()
    metrics: MetricsSettings = MetricsSettings()
    control: ControlSettings = ControlSettings()
    cluster: ClusterSettings = ClusterSettings()
    cameras: dict[CameraId, CameraSettings] = {}

    def observation_settings(self, under_display: bool | None = None) -> str:
        """The settings that decide a file's observations, with its camera's `under_display`.

        As JSON: it is hashed into the run's id. Only what differs from its default is in it, so a
        setting that a later release adds leaves the ids of earlier runs as they are. The route
        robust is not in it where the mode does not use it.
        """
        sections = {name: getattr(self, name) for name in OBSERVATION_SECTIONS}
        sections["emotion"] = self.emotion.in_use()
        fps = self.source.analyse_fps or None
        return encode_changes(sections, analyse_fps=fps, under_display=under_display)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, both also under the names of the release before."""
        return _Renamed(settings_cls, init_settings), _Renamed(settings_cls, env_settings)

    @model_validator(mode="after")
    def _refuse_missing_routes(self) -> Settings:
        for name, camera in self.cameras.items():
            if camera.mode and (fault := self.emotion.fault_of(camera.mode)):
                raise ValueError(f"camera {name}: {fault}")
        return self


class _Renamed(PydanticBaseSettingsSource):
    """A source whose old keys stand under their new names before it is merged with the others: an
    old key of a stronger source wins over the new one of a weaker source."""

    def __init__(
        self, settings_cls: type[BaseSettings], source: PydanticBaseSettingsSource
    ) -> None:
        super().__init__(settings_cls)
        self._source = source

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """As the source itself."""
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """What the source gives, under the names of today."""
        values = self._source()
        if isinstance(self._source, EnvSettingsSource):
            # A table that is no field of today is overlooked by pydantic.
            for old in OLD_POOL:
                value = self._source.env_vars.get((ENV_PREFIX + old.replace(".", "__")).lower())
                if value is not None:
                    values.setdefault("pool", {})[old.partition(".")[2]] = value
        return rename_keys(values, OLD_NAMES)


def _old_names() -> Iterator[tuple[str, str]]:
    for name, field in Settings.model_fields.items():
        if (section := _section_of(field)) and name != "cameras":
            for old, new in section.OLD_NAMES.items():
                yield f"{name}.{old}", f"{name}.{new}"


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
            ours = super().settings_customise_sources(
                *(settings_cls, init_settings, env_settings),
                *(dotenv_settings, file_secret_settings),
            )
            return *ours, _Renamed(settings_cls, file)

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
        raise _to_config_error(error, where) from error


def _refuse_unknown_variables() -> None:
    """pydantic overlooks a variable of no section, so a slip there would be silent."""
    known = [
        f"{section}__{key}".upper()
        for section in Settings.model_fields
        for key in _known_keys((section,))
    ]
    old = {name.replace(".", "__") for name in OLD_POOL}
    for name in os.environ:
        key = name.upper().removeprefix(ENV_PREFIX)
        section = key.lower().partition("__")[0]
        ours = name.upper().startswith(ENV_PREFIX) and name not in NOT_SETTINGS
        if ours and section not in Settings.model_fields and key.lower() not in old:
            near = difflib.get_close_matches(key, known, n=1)
            remedy = f"did you mean {ENV_PREFIX}{near[0]}?" if near else "unset it"
            raise ConfigError(f"unknown variable {name}", "environment", remedy)


def _to_config_error(error: ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    # Of a key of several types, pydantic also names the type that it tried.
    place = tuple(part for part in first["loc"] if not str(part).startswith(("bool", "literal[")))
    key = ".".join(str(part) for part in place if part != "[key]")
    message = str(first["msg"]).removeprefix("Value error, ")
    if not place:
        return ConfigError(message.partition(": ")[0], where, message.partition(": ")[2])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _known_keys(place[:-1]), n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "remove it; see undercam.example.toml"
        return ConfigError(f"unknown key {key!r}", where, remedy)
    if place[0] == "cameras" and place[-1] == "[key]":
        return ConfigError(f"bad value for {key!r}", where, suggest_camera_name(str(place[1])))
    bounds = bounds_of(_schema_of(place))
    return ConfigError(
        f"bad value for {key!r}", where, f"{message}; give {bounds}" if bounds else message
    )


def _schema_of(place: Sequence[int | str]) -> dict[str, Any]:
    """The JSON Schema of a key; {} of what is none."""
    section = _section_at(place[:-1])
    if section is None:
        return {}
    found: dict[str, Any] = section.model_json_schema()["properties"].get(str(place[-1]), {})
    return found


def _known_keys(place: Sequence[int | str]) -> list[str]:
    """The keys of a table; a camera's where the place is a camera's."""
    section = _section_at(place) if place else None
    return list(section.model_fields if section else Settings.model_fields)


def _section_at(place: Sequence[int | str]) -> type[Section] | None:
    """The class of the table at a place, such as ("emotion", "routes", "fast")."""
    if place and place[0] == "cameras":
        return CameraSettings
    fields, section = Settings.model_fields, None
    for key in place:
        section = _section_of(fields[str(key)]) if str(key) in fields else None
        if section is None:
            return None
        fields = section.model_fields
    return section


def _section_of(field: FieldInfo) -> type[Section] | None:
    """The class of a table, also of one that may be left out; None for a plain key."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


OLD_NAMES = OLD_POOL | dict(_old_names())
"""Every key of the release before with its table, and its name of today."""
