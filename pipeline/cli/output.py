"""What commands print: one JSON object, or lines for a person; progress goes to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

OUT = Console()
ERRORS = Console(stderr=True, soft_wrap=True)
"""Its lines are lines, however narrow the terminal."""


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on one line of stdout."""
    sys.stdout.write(json.dumps(values, allow_nan=False) + "\n")
    sys.stdout.flush()


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
