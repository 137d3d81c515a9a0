"""`undercam cameras`: list, add, change and remove registered cameras, also during a run."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationError
from rich.table import Table
from typer import Argument, Option, Typer

from pipeline.camera_names import check_camera_name
from pipeline.camera_states import REGISTERED
from pipeline.cli.options import AsJson, Config, Fps, UnderDisplay
from pipeline.cli.output import OUT, print_json
from pipeline.clock import wall_clock
from pipeline.config import load, resolve
from pipeline.errors import ConfigError
from pipeline.redact import may_hold_credential, redact
from pipeline.references import check_reference, is_reference
from pipeline.settings import CameraSettings

Name = Annotated[str, Argument(help="Lower case letters, digits, - and _.")]
Play = Annotated[str | None, Option(help="A file: once, or loop.")]
Mode = Annotated[
    str | None,
    Option(help="Routes that classify its faces: fast, robust or auto; see emotion.mode."),
]
KeepDays = Annotated[
    float | None, Option(help="Days after which its observations and tracks are deleted.")
]
Purpose = Annotated[
    str | None, Option(help="What it is for, in words for the people in front of it.")
]
cameras = Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    help="List and change the registered cameras; changes take effect within seconds.",
)


@cameras.command("list")
def list_cameras(config: Config = None, as_json: AsJson = False) -> None:
    """List every camera with its address, settings and state."""
    from pipeline.store.queries import camera_overview
    from pipeline.store.registry import registered_cameras

    default_fps = load(config).source.analyse_fps
    with _open_store(config) as engine:
        now_ms = wall_clock()
        states = {c.camera: c for c in camera_overview(engine, now_ms - 3_600_000, now_ms)}
        rows = {
            name: {
                **settings.model_dump(),
                "url": _redact_url(settings.url),
                "state": states[name].state if name in states else None,
                "reason": states[name].reason if name in states else None,
                "fps": states[name].fps if name in states else None,
            }
            for name, settings in registered_cameras(engine).items()
        }
    if as_json:
        print_json({"cameras": rows})
    elif rows:
        OUT.print(_table(rows, default_fps))
    else:
        OUT.print("no cameras: add one with `undercam cameras add NAME ADDRESS`")


def _table(rows: dict[str, dict[str, Any]], default_fps: float) -> Table:
    table = Table("camera")
    table.add_column("address", overflow="fold")
    for heading in ("enabled", "fps", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("reason", overflow="fold")
    for name, row in rows.items():
        fps = default_fps if row["analyse_fps"] is None else row["analyse_fps"]
        state = row["state"] or REGISTERED
        if row["fps"]:
            state += f", {row['fps']:.3g} fps"
        enabled = _format_value(row["enabled"])
        shown = (name, row["url"], enabled, _format_fps(fps), state, row["reason"] or "")
        table.add_row(*shown)
    return table


@cameras.command()
def add(
    camera: Name,
    url: Annotated[str, Argument(help="Its address, or a reference: env:NAME, file:PATH.")],
    fps: Fps = None,
    play: Play = None,
    under_display: UnderDisplay = None,
    mode: Mode = None,
    keep_days: KeepDays = None,
    purpose: Purpose = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Register a camera."""
    from pipeline.store.registry import register, registered_cameras

    check_camera_name(camera)
    _check_reference(url, config)
    with _open_store(config) as engine:
        if camera in registered_cameras(engine):
            raise ConfigError("already registered", camera, "change it with `undercam cameras set`")
        options = {"analyse_fps": fps, "play": play, "under_display": under_display, "mode": mode}
        options |= {"keep_days": keep_days, "purpose": purpose}
        settings = _settings(camera, {"url": url}, options)
        register(engine, camera, settings)
    message = f"added camera {camera}: {_redact_url(url)}; `undercam run` reads it within seconds"
    _report(as_json, camera, settings.model_dump(), message)


@cameras.command("set")
def change(
    camera: Name,
    url: Annotated[str | None, Option(help="Its address, or a reference.")] = None,
    enabled: Annotated[
        bool | None, Option("--enable/--disable", help="Whether the camera is read.")
    ] = None,
    fps: Fps = None,
    play: Play = None,
    under_display: UnderDisplay = None,
    mode: Mode = None,
    keep_days: KeepDays = None,
    purpose: Purpose = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Change a camera; options that are not given keep their values."""
    from pipeline.store.registry import register, registered_cameras

    check_camera_name(camera)
    if url is not None:
        _check_reference(url, config)
    with _open_store(config) as engine:
        before = _find_registered(registered_cameras(engine), camera)
        options = {"analyse_fps": fps, "play": play, "under_display": under_display, "mode": mode}
        options |= {"keep_days": keep_days, "purpose": purpose, "url": url, "enabled": enabled}
        settings = _settings(camera, before.model_dump(), options)
        register(engine, camera, settings)
    changes = ", ".join(_describe_changes(before, settings)) or "no changes"
    _report(as_json, camera, settings.model_dump(), f"changed camera {camera}: {changes}")


@cameras.command()
def remove(camera: Name, config: Config = None, as_json: AsJson = False) -> None:
    """Unregister a camera; its rows stay."""
    from pipeline.store.registry import registered_cameras, unregister

    check_camera_name(camera)
    with _open_store(config) as engine:
        _find_registered(registered_cameras(engine), camera)
        unregister(engine, camera)
    _report(as_json, camera, None, f"removed camera {camera}: it is no longer read, its rows stay")


def _open_store(config: Path | None) -> AbstractContextManager[Any]:
    """The database that holds the camera registry."""
    from pipeline.store.engine import use_store

    store = load(config).store
    return use_store(resolve(store.url), store.busy_timeout_s)


def _find_registered(registered: dict[str, CameraSettings], camera: str) -> CameraSettings:
    if camera not in registered:
        near = difflib.get_close_matches(camera, registered, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "see `undercam cameras list`"
        raise ConfigError("not registered", camera, remedy)
    return registered[camera]


def _settings(camera: str, values: dict[str, Any], options: dict[str, Any]) -> CameraSettings:
    """The values, with the options that are given in their place."""
    values = values | {key: value for key, value in options.items() if value is not None}
    try:
        return CameraSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"bad value for {first['loc'][0]!r}", camera, first["msg"]) from error


def _check_reference(url: str, config: Path | None) -> None:
    """Raise ConfigError now for a reference that the camera worker would refuse by its settings."""
    settings = load(config)
    if is_reference(url) and url not in {camera.url for camera in settings.cameras.values()}:
        check_reference(url, settings.source)


def _redact_url(url: str) -> str:
    """An address of the cameras table; other programs may have written credentials into it."""
    return redact(url) if may_hold_credential(url) else url


def _describe_changes(before: CameraSettings, after: CameraSettings) -> Iterator[str]:
    """The settings that differ, each as "name old to new"."""
    new = after.model_dump()
    for key, old in before.model_dump().items():
        if old != new[key]:
            yield f"{key} {_format_value(old)} to {_format_value(new[key])}"


def _format_value(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "unset" if value is None else "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else _redact_url(str(value))


def _format_fps(value: float) -> str:
    return f"{value:g}" if value else "all"


def _report(as_json: bool, camera: str, settings: dict[str, Any] | None, sentence: str) -> None:
    if as_json:
        print_json({"camera": camera, "settings": settings})
    else:
        OUT.print(sentence)
