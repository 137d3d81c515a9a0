"""The files that settings name, and which of them are relative to the folder of a command.

A machine of a cluster may lack that folder, and what is written there would lie somewhere else.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.camera_url import kind_of
from pipeline.errors import ConfigError, InputError
from pipeline.references import is_reference
from pipeline.settings import CameraSettings

FOLDERS_AND_FILES = ("folder", "ca_file", "model")
"""Keys that are paths, in whichever table."""
WEIGHTS = ("weights", "degraded_weights")
"""Keys that are paths where they are no names of the zoo, which have neither slash nor suffix."""
SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?P<path>[^?]+)")


def paths_of(settings: BaseModel, *parts: str) -> dict[str, str]:
    """The paths in these parts of the settings ("outbox", "emotion.routes.fast"), by setting."""
    found: dict[str, str] = {}
    for part in parts:
        values: Any = settings
        for name in part.split("."):
            values = getattr(values, name)
        found |= _paths_in(part, values.model_dump())
    return found


def paths_of_camera(camera: CameraSettings) -> dict[str, str]:
    """The path of a camera that is a file, or of the file that holds its address."""
    if is_reference(camera.url):
        return {"url": path} if (path := _file_of(camera.url)) else {}
    try:
        is_file = kind_of(camera.url) == "file"
    except InputError:  # an unknown scheme: refused when it is opened
        return {}
    return {"url": camera.url.removeprefix("file://")} if is_file else {}


def check_paths(paths: Mapping[str, str], home: Path) -> None:
    """Raise ConfigError where one of the paths is relative, and `home` is not on this machine."""
    relative = [
        f"{name} = {path!r}" for name, path in paths.items() if not Path(path).is_absolute()
    ]
    if relative:
        raise ConfigError(
            f"machine {socket.gethostname()} lacks the folder that {', '.join(relative)} "
            f"{'is' if len(relative) == 1 else 'are'} relative to",
            str(home),
            "make that folder there, or give absolute paths",
        )


def is_sqlite(url: str) -> bool:
    """Whether the address of a database is that of a SQLite file."""
    return SQLITE.match(url) is not None


def _paths_in(place: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{place}.{key}"
        if isinstance(value, Mapping):
            yield from _paths_in(name, value)
        elif isinstance(value, str) and value and (path := _path_in(key, value)):
            yield name, path


def _path_in(key: str, value: str) -> str:
    if is_reference(value):
        return _file_of(value)
    if database := SQLITE.match(value):
        return database["path"]
    is_path = key in WEIGHTS and ("/" in value or Path(value).suffix != "")
    return value if key in FOLDERS_AND_FILES or is_path else ""


def _file_of(reference: str) -> str:
    """The file of `file:PATH`; "" of `env:NAME`."""
    kind, _, path = reference.partition(":")
    return path if kind == "file" else ""
