"""`undercam cameras`: the roster, also while everything runs."""

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
from pipeline.cli.output import OUT, print_json
from pipeline.clock import wall_clock
from pipeline.config import load, resolve
from pipeline.errors import ConfigError
from pipeline.redact import may_hold_credential, redact
from pipeline.references import check_reference, is_reference
from pipeline.settings import CameraSettings

Config = Annotated[Path | None, Option("-c", "--config", help="A TOML file.")]
Name = Annotated[str, Argument(help="Lower case letters, digits, - and _.")]
Json = Annotated[bool, Option("--json", help="Print one JSON object.")]
Fps = Annotated[float | None, Option(help="Frames analysed a second; 0: all.")]
Play = Annotated[str | None, Option(help="A file: once, or loop.")]
UnderDisplay = Annotated[
    bool | None, Option("--under-display/--clear", help="What it looks through; else by its noise.")
]
cameras = Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    help="The cameras that are read; changes take effect within seconds.",
)


@cameras.command("list")
def show(config: Config = None, as_json: Json = False) -> None:
    """Every camera: its address, its settings and its state."""
    from pipeline.store.queries import camera_overview
    from pipeline.store.registry import roster

    usual_fps = load(config).source.analyse_fps
    with _opened(config) as engine:
        now_ms = wall_clock()
        states = {c.camera: c for c in camera_overview(engine, now_ms - 3_600_000, now_ms)}
        rows = {
            name: {
                **settings.model_dump(),
                "url": _shown(settings.url),
                "state": states[name].state if name in states else None,
                "reason": states[name].reason if name in states else None,
                "fps": states[name].fps if name in states else None,
            }
            for name, settings in roster(engine).items()
        }
    if as_json:
        print_json({"cameras": rows})
    elif rows:
        OUT.print(_table(rows, usual_fps))
    else:
        OUT.print("no camera yet: add one by `undercam cameras add NAME ADDRESS`")


def _table(rows: dict[str, dict[str, Any]], usual_fps: float) -> Table:
    table = Table("camera")
    table.add_column("address", overflow="fold")
    for heading in ("enabled", "fps", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("reason", overflow="fold")
    for name, row in rows.items():
        fps = usual_fps if row["analyse_fps"] is None else row["analyse_fps"]
        state = row["state"] or REGISTERED
        if row["fps"]:
            state += f", {row['fps']:.3g} fps"
        enabled = _as_text(row["enabled"])
        shown = (name, row["url"], enabled, _fps(fps), state, row["reason"] or "")
        table.add_row(*shown)
    return table


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
    from pipeline.store.registry import enrol, roster

    check_camera_name(camera)
    _check_reference(url, config)
    with _opened(config) as engine:
        if camera in roster(engine):
            raise ConfigError(
                "already on the roster", camera, "change it by `undercam cameras set`"
            )
        settings = _settings(camera, {"url": url}, fps, play, under_display)
        enrol(engine, camera, settings)
    done = f"added camera {camera}: {_shown(url)} is read within seconds by `undercam run`"
    _done(as_json, camera, settings.model_dump(), done)


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
    from pipeline.store.registry import enrol, roster

    check_camera_name(camera)
    if url is not None:
        _check_reference(url, config)
    with _opened(config) as engine:
        before = _known(roster(engine), camera)
        given = {"url": url, "enabled": enabled}
        values = before.model_dump()
        values |= {key: value for key, value in given.items() if value is not None}
        settings = _settings(camera, values, fps, play, under_display)
        enrol(engine, camera, settings)
    changes = ", ".join(_changes(before, settings)) or "nothing, it is as it was"
    _done(as_json, camera, settings.model_dump(), f"changed camera {camera}: {changes}")


@cameras.command()
def remove(camera: Name, config: Config = None, as_json: Json = False) -> None:
    """Take a camera off the roster; its rows stay."""
    from pipeline.store.registry import dismiss, roster

    check_camera_name(camera)
    with _opened(config) as engine:
        _known(roster(engine), camera)
        dismiss(engine, camera)
    _done(as_json, camera, None, f"removed camera {camera}: it is read no more, its rows stay")


def _opened(config: Path | None) -> AbstractContextManager[Any]:
    """The database that holds the roster."""
    from pipeline.store.engine import using_store

    store = load(config).store
    return using_store(resolve(store.url), store.busy_timeout_s)


def _known(known: dict[str, CameraSettings], camera: str) -> CameraSettings:
    if camera not in known:
        near = difflib.get_close_matches(camera, known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "see `undercam cameras list`"
        raise ConfigError("not on the roster", camera, remedy)
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


def _check_reference(url: str, config: Path | None) -> None:
    """Say now what the camera's process would say: which references it takes is a setting."""
    settings = load(config)
    if is_reference(url) and url not in {camera.url for camera in settings.cameras.values()}:
        check_reference(url, settings.source)


def _shown(url: str) -> str:
    """An address of the table: what may hold a credential was not put there by us."""
    return redact(url) if may_hold_credential(url) else url


def _changes(before: CameraSettings, after: CameraSettings) -> Iterator[str]:
    """What differs, each as "name: old to new"."""
    new = after.model_dump()
    for key, old in before.model_dump().items():
        if old != new[key]:
            yield f"{key} {_as_text(old)} to {_as_text(new[key])}"


def _as_text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "unset" if value is None else "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else _shown(str(value))


def _fps(value: float) -> str:
    return f"{value:g}" if value else "all"


def _done(as_json: bool, camera: str, settings: dict[str, Any] | None, sentence: str) -> None:
    if as_json:
        print_json({"camera": camera, "settings": settings})
    else:
        OUT.print(sentence)
