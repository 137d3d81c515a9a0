"""What a reference, `env:NAME` or `file:PATH`, stands for, and which of them a camera may use.

Errors name the reference, never what it holds. Whoever writes the configuration file or a command
line also runs the process, and may refer to anything; whoever writes the cameras table may not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.camera_url import url_fault
from pipeline.errors import ConfigError
from pipeline.settings import SourceSettings

MOST_BYTES = 65_536
"""Of a file that is referred to."""
_OURS = "UNDERCAM_"
"""Variables that hold settings, the database's address among them, are no cameras'."""


def is_reference(text: str) -> bool:
    """Whether a text is a reference; `file://PATH` is none.

    >>> is_reference("env:DOOR_URL"), is_reference("file:///clips/a.mp4")
    (True, False)
    """
    kind, colon, name = text.partition(":")
    return bool(colon) and (kind == "env" or (kind == "file" and not name.startswith("//")))


def resolve(reference: str) -> str:
    """What `env:NAME` or `file:PATH` refers to; any other text, `file://PATH` too, is itself.

    Raises ConfigError when the variable is not set or the file cannot be read.
    """
    if not is_reference(reference):
        return reference
    kind, _, name = reference.partition(":")
    if kind == "env":
        if name not in os.environ:
            raise ConfigError("secret not set", reference, f"set the environment variable {name}")
        return os.environ[name]
    return _text_of(Path(name), reference)


def resolve_camera(url: str, settings: SourceSettings, written: Collection[str] = ()) -> str:
    """The address of a camera: `url` itself, or what it refers to.

    `written` are addresses of the configuration file: a reference among them may be any. Another
    one must be allowed by `settings` (see `check_reference`). What a reference holds must be the
    address of a live camera: a file is never read because a reference names it.

    Raises ConfigError.
    """
    if not is_reference(url):
        return url
    if url not in written:
        check_reference(url, settings)
    held = resolve(url).strip()
    if fault := url_fault(held):
        raise ConfigError(f"the reference holds {fault[0]}", url, fault[1])
    return held


def check_reference(reference: str, settings: SourceSettings) -> None:
    """Raise ConfigError for a reference that a camera may not use.

    Allowed are variables that match one of `settings.secret_variables` and regular files in
    `settings.secrets_folder`, wherever links lead.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        patterns = settings.secret_variables
        is_allowed = any(fnmatchcase(name, pattern) for pattern in patterns)
        if not is_allowed or name.upper().startswith(_OURS) or not re.fullmatch(r"\w+", name):
            remedy = f"call it {' or '.join(patterns)}, or allow it by source.secret_variables"
            raise ConfigError("a variable that no camera may refer to", reference, remedy)
    elif not _lies_in(name, settings.secrets_folder):
        folder = settings.secrets_folder or "none"
        remedy = f"put it into source.secrets_folder ({folder}), or change that"
        raise ConfigError("a file that no camera may refer to", reference, remedy)


def _lies_in(path: str, folder: str) -> bool:
    try:
        real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
        # Nothing else is told of a path: whether a file is there is nobody's business either.
        return bool(folder) and home in real.parents and (real.is_file() or not real.exists())
    except (OSError, ValueError):
        return False


def _text_of(path: Path, reference: str) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ConfigError("secret not readable", reference, "give a file of 64 kB at most")
        return text.decode("utf-8").strip()
    except OSError as error:
        raise ConfigError("secret not readable", reference, str(error.strerror)) from error
    except UnicodeDecodeError:
        raise ConfigError("secret not readable", reference, "save it as UTF-8") from None
    except ValueError:
        raise ConfigError("secret not readable", reference, "correct its path") from None
