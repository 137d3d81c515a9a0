"""`undercam doctor`: check every part, and report each fault with its remedy."""

from __future__ import annotations

from rich.text import Text
from typer import Exit

from pipeline.cli.checks.base import Finding, run_checks
from pipeline.cli.checks.cameras import checks_of_cameras
from pipeline.cli.checks.cluster import checks_of_cluster
from pipeline.cli.checks.machine import checks_of_machine
from pipeline.cli.checks.parts import checks_of_parts
from pipeline.cli.checks.services import checks_of_services
from pipeline.cli.options import AsJson, Config
from pipeline.cli.output import OUT, print_json
from pipeline.config import Settings, load

STATUS_STYLES = {"ok": ("ok    ", "green"), "warn": ("warn  ", "yellow"), "fail": ("FAIL  ", "red")}


def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check every part that the settings name, and report each fault with its remedy.

    Nothing is created or changed; each camera is opened for one frame. The exit code is that of
    the first failed check.
    """
    findings = check_all(load(config))
    failed = [finding for finding in findings.values() if finding.status == "fail"]
    if as_json:
        rows = {
            name: {
                "ok": finding.status != "fail",
                "status": finding.status,
                "found": finding.found,
                "remedy": finding.remedy,
            }
            for name, finding in findings.items()
        }
        print_json({"ok": not failed, "checks": rows})
    else:
        _show(findings)
    if failed:
        raise Exit(failed[0].exit_code)


def check_all(settings: Settings) -> dict[str, Finding]:
    """The finding of every check, by the name of the part."""
    return run_checks(
        {
            **checks_of_parts(settings),
            **checks_of_services(settings),
            **checks_of_cluster(settings),
            **checks_of_machine(settings),
            **checks_of_cameras(settings),
        }
    )


def _show(findings: dict[str, Finding]) -> None:
    width = max(map(len, findings))
    for name, finding in findings.items():
        line = Text.assemble(STATUS_STYLES[finding.status], f"{name:<{width}}  {finding.found}")
        OUT.print(line.append(f": {finding.remedy}") if finding.remedy else line, soft_wrap=True)
