"""All commands together, and how each one ends: an exit code, and one line where it failed."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from pipeline.cli import (
    analyze,
    cameras,
    dashboard,
    demo,
    doctor,
    evaluate,
    export,
    figures,
    outbox,
    store,
    table,
    train,
    udc,
)
from pipeline.cli import run as live
from pipeline.errors import ConfigError, UndercamError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    help="Live video of faces in, facial-expression events out, for cameras that see badly.\n\n"
    "It labels facial expressions; it does not read what a person feels.",
    epilog="Start with `undercam demo`. Exit codes: 0 ok, 2 usage or settings, 3 unreadable input, "
    "4 service unreachable, 5 weights or model, 1 anything else.",
)
app.command()(demo.demo)
app.command()(analyze.analyze)
app.command()(live.run)
app.add_typer(cameras.cameras, name="cameras")
app.command()(store.store)
app.add_typer(outbox.outbox, name="outbox")
app.command()(dashboard.dashboard)
app.command()(doctor.doctor)
app.command()(evaluate.evaluate)
app.command()(export.export)
app.command()(figures.figures)
app.command()(table.table)
app.command()(train.train)
app.command()(udc.udc)


def run(arguments: list[str]) -> int:
    """Run one command line; what fails is one line on stderr. Returns the exit code."""
    try:
        code = app(arguments or ["--help"], prog_name="undercam", standalone_mode=False)
    except UndercamError as error:
        return _fail(error)
    except typer.TyperException as error:
        where = " ".join(["undercam", *arguments[:1]])
        return _fail(ConfigError(error.format_message().rstrip("."), where, "see --help"))
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("undercam: stopped\n")
        return 130
    except Exception as error:  # noqa: BLE001 - the last door: whatever it was, one line
        if os.environ.get("UNDERCAM_DEBUG"):
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return _fail(UndercamError(what, "unexpected", "set UNDERCAM_DEBUG=1 to see where"))
    return int(code or 0)


def _fail(error: UndercamError) -> int:
    line = " ".join(str(error).split())
    sys.stderr.write(f"undercam: {line}\n")
    return error.exit_code
