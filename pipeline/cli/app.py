"""All commands, and how each one ends: an exit code, and one line on stderr if it fails.

A new command is a module of its name in this package and its name in COMMANDS.
"""

from __future__ import annotations

import ast
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.cli.options import rename_old_options
from pipeline.cli.output import discard_unread_output, is_reader_gone
from pipeline.errors import ConfigError, RenamedSetting, UndercamError

COMMANDS = (
    *("demo", "analyze", "run", "cameras", "store", "outbox", "erase"),
    *("dashboard", "users", "export-data", "doctor"),
    *("data", "train", "evaluate", "table", "figures", "calibrate", "export", "udc"),
)
"""In the order of the help. Each is the function, or the Typer, of that name in its module, with
underscores for hyphens."""
BROKEN_PIPE_EXIT_CODE = 141
"""As a shell reports a program that wrote into a closed pipe: 128 + SIGPIPE."""


class _Commands(TyperGroup):
    """Imports a command's module when that command is used, or completed, and not before."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else command, rest

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, for help and completion, which show each command's summary."""
        for name in COMMANDS:
            self.commands[name].help = read_summary(name)
        return list(COMMANDS)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if is_reader_gone():
                raise
            # A broken connection, not our own output: Typer would exit without a message.
            raise _to_unexpected(error) from error


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turns live video of faces into facial-expression events, also from under-display "
    "cameras.\n\nIt labels facial expressions; it does not read what a person feels.",
    epilog="Start with `undercam demo`. Exit codes: 0 ok, 2 usage or settings, 3 unreadable input, "
    "4 service unreachable, 5 weights or model, 1 anything else.",
)


def _placeholder() -> None:
    """Registered in place of a command until that command is used."""


def read_summary(name: str) -> str:
    """The first paragraph of a command's help, from its source: importing all commands, as the
    list of them would, takes a second."""
    name = name.replace("-", "_")
    module = ast.parse((Path(__file__).parent / f"{name}.py").read_text("utf-8"))
    for node in module.body:
        match node:
            case ast.FunctionDef(name=found) if found == name:
                text = ast.get_docstring(node) or ""
            case ast.Assign(targets=[ast.Name(id=found)], value=ast.Call(keywords=options)) if (
                found == name
            ):
                text = next(ast.literal_eval(o.value) for o in options if o.arg == "help")
            case _:
                continue
        return " ".join(text.partition("\n\n")[0].split())
    raise LookupError(f"no command {name}")


for _name in COMMANDS:
    app.command(_name)(_placeholder)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        sys.stdout.write(f"undercam {_version()}\n")
        raise typer.Exit


@app.callback()
def _undercam(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    pass


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; a failure is one line on stderr.

    Options and settings under their names of the last release work, with one line that says the
    new name. A closed stdout, as after `| head`, ends the command without a message.
    """
    arguments, messages = rename_old_options(arguments)
    try:
        for message in messages:
            _print_error(message)
        with _renamed_settings_on_stderr():
            code = _run(arguments)
        if sys.stdout:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        discard_unread_output()
        return BROKEN_PIPE_EXIT_CODE
    except OSError as error:  # of stdout: its disk is full
        return _fail(_to_unexpected(error))


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
    except Exception as error:  # noqa: BLE001 - the outermost handler: any failure is one line
        if os.environ.get("UNDERCAM_DEBUG"):
            traceback.print_exc()
        return _fail(_to_unexpected(error))
    return int(code or 0)


@contextmanager
def _renamed_settings_on_stderr() -> Iterator[None]:
    """Print each RenamedSetting warning once, as one line without Python's file and line number."""
    printed: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedSetting)
        show_other = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            text = str(message)
            if not issubclass(category, RenamedSetting):
                show_other(message, category, *where, **more)
            elif text not in printed:  # a command may load its settings more than once
                printed.add(text)
                _print_error(text)

        warnings.showwarning = show
        yield


def load_command(name: str) -> Any:
    """A command with its options, from the module of the same name."""
    module = name.replace("-", "_")
    found = getattr(import_module(f"pipeline.cli.{module}"), module)
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


def _to_unexpected(error: Exception) -> UndercamError:
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return UndercamError(what, "unexpected", "set UNDERCAM_DEBUG=1 to see where")


def _fail(error: UndercamError) -> int:
    _print_error(str(error))
    return error.exit_code


def _print_error(text: str) -> None:
    sys.stderr.write(f"undercam: {' '.join(text.split())}\n")
