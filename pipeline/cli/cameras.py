"""`undercam cameras`: list, add, change and remove registered cameras, also during a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from typer import Argument, Option, Typer

from pipeline.camera_states import REGISTERED
from pipeline.cli.options import AsJson, Config, Fps, UnderDisplay
from pipeline.cli.output import OUT, print_json
from pipeline.cli.state import connect_control
from pipeline.config import load, resolve
from pipeline.control_client import ControlClient
from pipeline.errors import ConfigError
from pipeline.redact import may_hold_credential, redact

if TYPE_CHECKING:
    from pipeline.store.stored_cameras import StoredCameras

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
DisplayName = Annotated[
    str | None, Option(help="Name on the pages, of any characters; empty: NAME.")
]
UNSETTABLE = ("under_display", "mode", "analyse_fps", "keep_days")
"""The settings of a camera that are everybody's where it has none of its own."""
Unset = Annotated[
    list[str] | None,
    Option(
        help="A setting of its own to take back, so that everybody's holds again: "
        f"{', '.join(UNSETTABLE)}. May be given several times."
    ),
]
cameras = Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    help="List and change the registered cameras; changes take effect within seconds.",
)


@cameras.command("list")
def list_cameras(config: Config = None, as_json: AsJson = False) -> None:
    """List every camera with its address, settings and state."""
    default_fps = load(config).source.analyse_fps
    with _open_cameras(config) as registered:
        rows = registered.overview()
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
    display_name: DisplayName = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Register a camera."""
    options = {"analyse_fps": fps, "play": play, "under_display": under_display, "mode": mode}
    options |= {"url": url, "keep_days": keep_days, "purpose": purpose}
    values = _drop_missing(options | {"display_name": display_name})
    with _open_cameras(config) as registered:
        _, settings = registered.put(camera, values, is_new=True)
    message = f"added camera {camera}: {_redact_url(url)}; `undercam run` reads it within seconds"
    _report(as_json, camera, settings, message)


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
    display_name: DisplayName = None,
    unset: Unset = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Change a camera; options that are not given keep their values."""
    options = {"analyse_fps": fps, "play": play, "under_display": under_display, "mode": mode}
    options |= {"url": url, "enabled": enabled, "keep_days": keep_days, "purpose": purpose}
    values = _drop_missing(options | {"display_name": display_name})
    values |= _take_back(unset or [], values)
    with _open_cameras(config) as registered:
        before, after = registered.change(camera, values)
    changes = ", ".join(_describe_changes(before, after)) or "no changes"
    _report(as_json, camera, after, f"changed camera {camera}: {changes}")


@cameras.command()
def remove(camera: Name, config: Config = None, as_json: AsJson = False) -> None:
    """Unregister a camera; its rows stay."""
    with _open_cameras(config) as registered:
        registered.remove(camera)
    _report(as_json, camera, None, f"removed camera {camera}: it is no longer read, its rows stay")


@contextmanager
def _open_cameras(config: Path | None) -> Iterator[ControlClient | StoredCameras]:
    """The registered cameras: through the control interface where one is served, else in the
    database."""
    from pipeline.store.engine import use_store
    from pipeline.store.stored_cameras import StoredCameras

    settings = load(config)
    if client := connect_control(settings):
        yield client
        return
    store = settings.store
    with use_store(resolve(store.url), store.busy_timeout_s) as engine:
        yield StoredCameras(engine, settings)


def _drop_missing(options: dict[str, Any]) -> dict[str, Any]:
    """The settings of the options that were given."""
    return {key: value for key, value in options.items() if value is not None}


def _take_back(names: list[str], values: dict[str, Any]) -> dict[str, None]:
    """The settings of `--unset`; raises ConfigError for one that cannot be, or is given too."""
    for name in names:
        if name not in UNSETTABLE:
            remedy = f"give one of {', '.join(UNSETTABLE)}"
            raise ConfigError(f"no setting to take back: {name}", "--unset", remedy)
        if name in values:
            raise ConfigError(f"{name} is set and unset at once", "--unset", "give one of the two")
    return dict.fromkeys(names)


def _redact_url(url: str) -> str:
    """An address; other programs may have written credentials into the cameras table."""
    return redact(url) if may_hold_credential(url) else url


def _describe_changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """The settings that differ, each as "name old to new"."""
    for key, old in before.items():
        if old != after[key]:
            yield f"{key} {_format_value(old)} to {_format_value(after[key])}"


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
