"""What commands print: one JSON object, or lines for a person; progress goes to stderr."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PIPE_COLUMNS = 10_000
"""Width where stdout is no terminal: a program that reads it line by line needs whole lines."""


def _console(stream: TextIO | None, stderr: bool = False) -> Console:
    """A console without markup: `rtsp://[fe80::1]/live` keeps its square brackets."""
    width = None if stream and stream.isatty() else PIPE_COLUMNS
    return Console(stderr=stderr, soft_wrap=stderr, width=width, markup=False, highlight=False)


OUT = _console(sys.stdout)
ERRORS = _console(sys.stderr, stderr=True)
"""Does not wrap: a message stays on one line in a narrow terminal."""


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on one line of stdout."""
    sys.stdout.write(json.dumps(values, allow_nan=False) + "\n")
    sys.stdout.flush()


def as_text(values: Mapping[str, Any]) -> str:
    """Names and values for a person, on one line.

    >>> as_text({"n": 3, "of": {"train": 2, "test": 1}, "px": [32, 48], "gpu": False})
    'n 3, of (train 2, test 1), px 32 48, gpu no'
    """
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({as_text(value)})"
    if isinstance(value, list | tuple):
        return " ".join(map(_value, value))
    if value is None or isinstance(value, bool):
        return "none" if value is None else "yes" if value else "no"
    return str(value)


def progress_bar(quiet: bool = False) -> Progress:
    """A progress bar on stderr, removed when done; disabled where stderr is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=ERRORS,
        transient=True,
        disable=quiet or not ERRORS.is_terminal,
    )


def data_folders() -> list[Path]:
    """Folders searched for networks that are not bundled: `models` under UNDERCAM_DATA."""
    root = os.environ.get("UNDERCAM_DATA")
    return [Path(root) / "models"] if root else []


def warn(what: str, where: str, remedy: str) -> None:
    """One line on stderr about a fault that does not end the command."""
    sys.stderr.write(f"undercam: {what}: {where}: {remedy}\n")


def drop_unset(overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings given as options: those that are neither empty nor None.

    >>> drop_unset({"store": {"url": ""}, "dashboard": {"port": 0}})
    {'dashboard': {'port': 0}}
    """
    sections = {
        section: {key: value for key, value in keys.items() if value not in ("", None)}
        for section, keys in overrides.items()
    }
    return {section: keys for section, keys in sections.items() if keys}


def is_reader_gone() -> bool:
    """Whether stdout or stderr is a pipe whose reader has closed it, as `| head` does."""
    return any(_is_unread(stream) for stream in (sys.stdout, sys.stderr))


def discard_unread_output() -> None:
    """Redirect such pipes to the null device, or Python reports an error when it flushes them."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if _is_unread(stream):
            os.dup2(null, stream.fileno())
    os.close(null)


def _is_unread(stream: TextIO | None) -> bool:
    try:
        number = stream.fileno() if stream else -1
    except (OSError, ValueError):  # it has no file, or is closed
        return False
    if number < 0:
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
