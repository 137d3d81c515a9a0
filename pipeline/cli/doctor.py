"""`undercam doctor`: what is here, what works, and what to do about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.text import Text
from typer import Exit, Option

from pipeline.cli.checks.base import Finding, run_checks
from pipeline.cli.checks.cameras import checks_of_cameras
from pipeline.cli.checks.machine import checks_of_machine
from pipeline.cli.checks.parts import checks_of_parts
from pipeline.cli.checks.services import checks_of_services
from pipeline.cli.output import OUT, print_json
from pipeline.config import Settings, load

SHOWN = {"ok": ("ok    ", "green"), "warn": ("warn  ", "yellow"), "fail": ("FAIL  ", "red")}


def doctor(
    config: Annotated[Path | None, Option("-c", "--config", help="A TOML file.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Try every part that the settings name, and say what is wrong with it and how to mend it.

    Nothing is created or changed; a camera is opened for a moment. The exit code is that of the
    first part that fails.
    """
    found = examine(load(config))
    failed = [one for one in found.values() if one.status == "fail"]
    if as_json:
        rows = {
            name: {
                "ok": one.status != "fail",
                "status": one.status,
                "found": one.found,
                "remedy": one.remedy,
            }
            for name, one in found.items()
        }
        print_json({"ok": not failed, "checks": rows})
    else:
        _show(found)
    if failed:
        raise Exit(failed[0].exit_code)


def examine(settings: Settings) -> dict[str, Finding]:
    """Every check's finding, by the name of its part."""
    return run_checks(
        {
            **checks_of_parts(settings),
            **checks_of_services(settings),
            **checks_of_machine(settings),
            **checks_of_cameras(settings),
        }
    )


def _show(found: dict[str, Finding]) -> None:
    width = max(map(len, found))
    for name, one in found.items():
        line = Text.assemble(SHOWN[one.status], f"{name:<{width}}  {one.found}")
        OUT.print(line.append(f": {one.remedy}") if one.remedy else line, soft_wrap=True)
