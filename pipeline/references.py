"""References to secrets, `env:NAME` and `file:PATH`: what they resolve to, and which a camera may
use.

Errors name the reference, never its value. Who writes the configuration file or a command line also
runs the process, and may refer to anything; who writes to the cameras table may not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.camera_url import find_live_url_fault, kind_of
from pipeline.errors import ConfigError, InputError
from pipeline.settings import CameraSettings, SourceSettings

MAX_BYTES = 65_536
"""Maximum size of a file that is referred to."""
_SETTINGS_PREFIX = "UNDERCAM_"
"""Variables with this prefix hold settings, the database's address among them: never a camera's."""


def is_reference(text: str) -> bool:
    """Whether a text is a reference; `file://PATH` is not.

    >>> is_reference("env:DOOR_URL"), is_reference("file:///clips/a.mp4")
    (True, False)
    """
    kind, colon, name = text.partition(":")
    return bool(colon) and (kind == "env" or (kind == "file" and not name.startswith("//")))


def is_recording(camera: CameraSettings) -> bool:
    """Whether a camera is a file that is read once. A reference is none: it must be the address of
    a live camera.

    >>> is_recording(CameraSettings(url="a.mp4")), is_recording(CameraSettings(url="rtsp://a/b"))
    (True, False)
    """
    if camera.play != "once" or is_reference(camera.url):
        return False
    try:
        return kind_of(camera.url) == "file"
    except InputError:  # an unknown scheme: refused when it is opened
        return False


def resolve(reference: str) -> str:
    """The value of `env:NAME` or `file:PATH`; any other text, `file://PATH` too, is returned as is.

    Raises ConfigError when the variable is not set or the file cannot be read.
    """
    if not is_reference(reference):
        return reference
    kind, _, name = reference.partition(":")
    if kind == "env":
        if name not in os.environ:
            raise ConfigError("secret not set", reference, f"set the environment variable {name}")
        return os.environ[name]
    return _read_text(Path(name), reference)


def resolve_camera_url(url: str, settings: SourceSettings, configured: Collection[str] = ()) -> str:
    """The address of a camera: `url` itself, or the value of the reference that it is.

    A reference among `configured`, the addresses of the configuration file, may be any; another one
    must be allowed by `settings` (see `check_reference`). The value must be the address of a live
    camera, so that a reference cannot make any local file be played.

    Raises ConfigError.
    """
    if not is_reference(url):
        return url
    if url not in configured:
        check_reference(url, settings)
    address = resolve(url).strip()
    if fault := find_live_url_fault(address):
        raise ConfigError(f"the reference holds {fault[0]}", url, fault[1])
    return address


def check_reference(reference: str, settings: SourceSettings) -> None:
    """Raise ConfigError for a reference that a camera may not use.

    Allowed are variables that match one of `settings.secret_variables`, and regular files in
    `settings.secrets_folder` after symbolic links are resolved.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        patterns = settings.secret_variables
        is_allowed = any(fnmatchcase(name, pattern) for pattern in patterns)
        is_setting = name.upper().startswith(_SETTINGS_PREFIX)
        if not is_allowed or is_setting or not re.fullmatch(r"\w+", name):
            remedy = f"name it {' or '.join(patterns)}, or allow it in source.secret_variables"
            raise ConfigError("cameras may not refer to this variable", reference, remedy)
    elif not _is_inside(name, settings.secrets_folder):
        folder = settings.secrets_folder or "none"
        remedy = f"put it into source.secrets_folder ({folder}), or change that setting"
        raise ConfigError("cameras may not refer to this file", reference, remedy)


def _is_inside(path: str, folder: str) -> bool:
    try:
        real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
        # A missing file passes: the answer must not tell whether a file outside exists.
        return bool(folder) and home in real.parents and (real.is_file() or not real.exists())
    except (OSError, ValueError):
        return False


def _read_text(path: Path, reference: str) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ConfigError("secret not readable", reference, "give a file of 64 kB at most")
        return text.decode("utf-8").strip()
    except OSError as error:
        raise ConfigError("secret not readable", reference, str(error.strerror)) from error
    except UnicodeDecodeError:
        raise ConfigError("secret not readable", reference, "save it as UTF-8") from None
    except ValueError:
        raise ConfigError("secret not readable", reference, "correct its path") from None
