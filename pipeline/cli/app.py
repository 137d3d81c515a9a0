"""All commands together, and how each one ends: an exit code, and one line where it failed."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.cli.pipes import is_reader_gone, let_go
from pipeline.errors import ConfigError, UndercamError

COMMANDS = {
    "demo": "Play real faces through the whole pipeline and watch them on the dashboard.",
    "analyze": "Find, track and name the faces of a clip.",
    "run": "Read every registered camera: faces become events, and events become rows.",
    "cameras": "The cameras that are read; changes take effect within seconds.",
    "store": "Put what arrives on the bus into the database, until Ctrl-C or SIGTERM.",
    "outbox": "Events that wait on this machine's disk for bus or store.",
    "dashboard": "Show what is in the database, until Ctrl-C (exit code 130).",
    "doctor": "Try every part that the settings name, and say what is wrong with it and how to "
    "mend it.",
    "evaluate": "Measure weights on labelled faces: accuracy, F1, recall, calibration, coverage.",
    "table": "Compare all models: accuracy on clean faces and behind simulated displays.",
    "figures": "Draw the comparison from kept predictions, and what networks make of faces.",
    "train": "Train a model, calibrate it on the validation cut, and write its weights with their "
    "card.",
    "export": "Write weights as ONNX: `x` (and `noise`, of a model that draws) in, `logits` out.",
    "udc": "Show what a camera under a display would have seen: simulated optics and sensor noise.",
}
"""Each with the first sentence of its own help, so that the list needs none of their imports."""
UNREAD = 141
"""What a shell says of a program that wrote into a pipe that nobody reads: 128 + SIGPIPE."""


class _Commands(TyperGroup):
    """Imports a command's module when that command is used, or completed, and not before."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _command(name) if name else command, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if is_reader_gone():
                raise
            # Not that of our own output: Typer would end in silence.
            raise _unforeseen(error) from error


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Live video of faces in, facial-expression events out, for cameras that see badly.\n\n"
    "It labels facial expressions; it does not read what a person feels.",
    epilog="Start with `undercam demo`. Exit codes: 0 ok, 2 usage or settings, 3 unreadable input, "
    "4 service unreachable, 5 weights or model, 1 anything else.",
)


def _listed() -> None:
    """Stands for a command where only its name and help are wanted."""


for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(_listed)


def _say_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"undercam {_version()}\n")
        raise typer.Exit


@app.callback()
def _undercam(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    pass


def run(arguments: list[str]) -> int:
    """Run one command line; what fails is one line on stderr. Returns the exit code.

    Where nobody reads what is written, as behind `| head`, the command ends without a word.
    """
    try:
        code = _run(arguments)
        if sys.stdout:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        let_go()
        return UNREAD
    except OSError as error:  # of stdout: its disk is full
        return _fail(_unforeseen(error))


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments or ["--help"], prog_name="undercam", standalone_mode=False)
    except UndercamError as error:
        return _fail(error)
    except typer.TyperException as error:
        path = getattr(getattr(error, "ctx", None), "command_path", "undercam")
        return _fail(ConfigError(error.format_message().rstrip("."), path, f"see `{path} --help`"))
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("undercam: stopped\n")
        return 130
    except SystemExit as ending:
        # Rich and Typer raise it while they handle the broken pipe.
        if isinstance(ending.__context__, BrokenPipeError):
            raise ending.__context__ from None
        code = ending.code if isinstance(ending.code, int) else bool(ending.code)
    except Exception as error:  # noqa: BLE001 - the last door: whatever it was, one line
        if os.environ.get("UNDERCAM_DEBUG"):
            traceback.print_exc()
        return _fail(_unforeseen(error))
    return int(code or 0)


def _command(name: str) -> Any:
    """A command with its options, from the module that bears its name."""
    found = getattr(import_module(f"pipeline.cli.{name}"), name)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        alone.command(name)(found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    return command


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("undercam")
    except PackageNotFoundError:
        return "(a checkout that is not installed)"


def _unforeseen(error: Exception) -> UndercamError:
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return UndercamError(what, "unexpected", "set UNDERCAM_DEBUG=1 to see where")


def _fail(error: UndercamError) -> int:
    line = " ".join(str(error).split())
    sys.stderr.write(f"undercam: {line}\n")
    return error.exit_code
