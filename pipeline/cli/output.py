"""What commands print: one JSON object, or lines for a person; progress goes to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

UNCUT = 10_000
"""Columns of what is no terminal: whoever reads a pipe line by line wants whole lines."""


def _console(stream: TextIO | None, stderr: bool = False) -> Console:
    """Prints text as it is: square brackets, as in `rtsp://[fe80::1]/live`, are no markup."""
    width = None if stream and stream.isatty() else UNCUT
    return Console(stderr=stderr, soft_wrap=stderr, width=width, markup=False, highlight=False)


OUT = _console(sys.stdout)
ERRORS = _console(sys.stderr, stderr=True)
"""Its lines are lines, however narrow the terminal."""


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
    """A bar on stderr that leaves no trace when it is done; none where nobody looks."""
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
    """Where networks that are not bundled are looked for: `models` under UNDERCAM_DATA."""
    root = os.environ.get("UNDERCAM_DATA")
    return [Path(root) / "models"] if root else []


def warn(what: str, where: str, remedy: str) -> None:
    """One line on stderr about what a command lived with."""
    sys.stderr.write(f"undercam: {what}: {where}: {remedy}\n")


def given(overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of the settings that options may override, those that were given.

    >>> given({"store": {"url": ""}, "dashboard": {"port": 0}})
    {'dashboard': {'port': 0}}
    """
    sections = {
        section: {key: value for key, value in keys.items() if value not in ("", None)}
        for section, keys in overrides.items()
    }
    return {section: keys for section, keys in sections.items() if keys}
