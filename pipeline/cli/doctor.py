"""`undercam doctor`: what is here, what works, and what to do about the rest."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from rich.table import Table
from rich.text import Text
from typer import Exit, Option

from pipeline.cli.output import OUT, data_folders, print_json
from pipeline.config import Settings, load, resolve
from pipeline.errors import UndercamError
from pipeline.redact import redacted

Check = Callable[[Settings], str]
"""Says in a few words what it found; raises UndercamError with the remedy."""


def doctor(
    config: Annotated[Path | None, Option("-c", "--config", help="A TOML file.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Try every part that the settings name, and say what is wrong with it and how to mend it."""
    settings = load(config)
    found = {name: _tried(check, settings) for name, check in CHECKS.items()}
    ok = all(fine for fine, _ in found.values())
    if as_json:
        rows = {name: {"ok": fine, "found": text} for name, (fine, text) in found.items()}
        print_json({"ok": ok, "checks": rows})
    else:
        table = Table("", "part", "found", box=None)
        for name, (fine, text) in found.items():
            table.add_row(Text("ok", "green") if fine else Text("no", "red"), name, text)
        OUT.print(table)
    if not ok:
        raise Exit(1)


def _tried(check: Check, settings: Settings) -> tuple[bool, str]:
    try:
        return True, check(settings)
    except UndercamError as error:
        return False, str(error)


def _packages(settings: Settings) -> str:
    names = ("torch", "opencv-python", "av", "onnxruntime", "sqlalchemy")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return f"Python {platform.python_version()}, {packages}"


def _detector(settings: Settings) -> str:
    import numpy as np

    from pipeline.stages.detect import open_detect

    detect = open_detect(settings.detector, data_folders())
    detect(np.zeros((120, 160, 3), np.uint8))
    return detect.name


def _weights(settings: Settings) -> str:
    import numpy as np

    from models.crops import CROP_PX
    from models.loading import load_classifier, zoo_names

    classifier = load_classifier(settings.emotion.weights, device=settings.emotion.device)
    classifier.predict(np.zeros((1, CROP_PX, CROP_PX, 3), np.uint8))
    return f"{classifier.card.name}; shipped: {', '.join(zoo_names())}"


def _store(settings: Settings) -> str:
    from pipeline.store.engine import open_store

    url = resolve(settings.store.url)
    open_store(url, settings.store.busy_timeout_s).dispose()
    return redacted(url)


CHECKS: dict[str, Check] = {
    "packages": _packages,
    "detector": _detector,
    "weights": _weights,
    "store": _store,
}
