"""`undercam cameras`: the roster, also while everything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from rich.table import Table
from typer import Argument, Option, Typer

from pipeline.cli.output import OUT, print_json
from pipeline.clock import wall_clock
from pipeline.config import load, resolve
from pipeline.errors import ConfigError
from pipeline.records import CameraId
from pipeline.settings import CameraSettings
from pipeline.store.engine import using_store
from pipeline.store.queries import camera_overview
from pipeline.store.roster import dismiss, enrol, roster

Config = Annotated[Path | None, Option("-c", "--config", help="A TOML file.")]
Name = Annotated[str, Argument(help="Lower case letters, digits, - and _.")]
Json = Annotated[bool, Option("--json", help="Print one JSON object.")]
Fps = Annotated[float | None, Option(help="Frames analysed a second; 0: all.")]
Play = Annotated[str | None, Option(help="A file: once, or loop.")]
UnderDisplay = Annotated[
    bool | None, Option("--under-display/--clear", help="What it looks through; else by its noise.")
]
cameras = Typer(help="The cameras that are read; changes take effect within seconds.")


@cameras.command("list")
def show(config: Config = None, as_json: Json = False) -> None:
    """Every camera, and how it fares."""
    with using_store(*_where(config)) as engine:
        now_ms = wall_clock()
        states = {c.camera: c for c in camera_overview(engine, now_ms - 3_600_000, now_ms)}
        rows = {
            name: {
                **settings.model_dump(),
                "state": states[name].state if name in states else None,
                "reason": states[name].reason if name in states else None,
            }
            for name, settings in roster(engine).items()
        }
    if as_json:
        print_json({"cameras": rows})
        return
    table = Table("camera", "address", "state", "reason")
    for name, row in rows.items():
        table.add_row(name, row["url"], row["state"], row["reason"])
    OUT.print(table)


@cameras.command()
def add(
    camera: Name,
    url: Annotated[str, Argument(help="Its address, or a reference: env:NAME, file:PATH.")],
    fps: Fps = None,
    play: Play = None,
    under_display: UnderDisplay = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put a camera on the roster."""
    with using_store(*_where(config)) as engine:
        if camera in roster(engine):
            raise ConfigError(
                "already on the roster", camera, "change it by `undercam cameras set`"
            )
        settings = _settings(camera, {"url": url}, fps, play, under_display)
        enrol(engine, _checked(camera), settings)
    _done(as_json, camera, settings.model_dump())


@cameras.command("set")
def change(
    camera: Name,
    url: Annotated[str | None, Option(help="Its address, or a reference.")] = None,
    enabled: Annotated[
        bool | None, Option("--enable/--disable", help="Whether it is read.")
    ] = None,
    fps: Fps = None,
    play: Play = None,
    under_display: UnderDisplay = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Change a camera; what is not given stays."""
    with using_store(*_where(config)) as engine:
        before = _known(roster(engine), camera).model_dump()
        changed = {"url": url, "enabled": enabled}
        before |= {key: value for key, value in changed.items() if value is not None}
        settings = _settings(camera, before, fps, play, under_display)
        enrol(engine, camera, settings)
    _done(as_json, camera, settings.model_dump())


@cameras.command()
def remove(camera: Name, config: Config = None, as_json: Json = False) -> None:
    """Take a camera off the roster; its rows stay."""
    with using_store(*_where(config)) as engine:
        _known(roster(engine), camera)
        dismiss(engine, camera)
    _done(as_json, camera, None)


def _where(config: Path | None) -> tuple[str, float]:
    store = load(config).store
    return resolve(store.url), store.busy_timeout_s


def _known(known: dict[str, CameraSettings], camera: str) -> CameraSettings:
    if camera not in known:
        raise ConfigError("not on the roster", camera, "see `undercam cameras list`")
    return known[camera]


def _settings(
    camera: str,
    values: dict[str, Any],
    fps: float | None,
    play: str | None,
    under_display: bool | None,
) -> CameraSettings:
    options = {"analyse_fps": fps, "play": play, "under_display": under_display}
    values = values | {key: value for key, value in options.items() if value is not None}
    try:
        return CameraSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"bad value for {first['loc'][0]!r}", camera, first["msg"]) from error


def _checked(camera: str) -> str:
    try:
        return TypeAdapter(CameraId).validate_python(camera)
    except ValidationError as error:
        remedy = "lower case letters, digits, dash and underscore, a letter or digit first"
        raise ConfigError("no name for a camera", camera, remedy) from error


def _done(as_json: bool, camera: str, settings: dict[str, Any] | None) -> None:
    if as_json:
        print_json({"camera": camera, "settings": settings})
