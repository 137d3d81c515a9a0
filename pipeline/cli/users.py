"""`undercam users`: list, add and remove the people who may sign in to the dashboard."""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.table import Table
from typer import Argument, Option, Typer

from pipeline.cli.options import AsJson, Config
from pipeline.cli.output import OUT, print_json
from pipeline.config import load
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from dashboard.sign_in.users import UsersFile

Name = Annotated[str, Argument(help="Letters, digits and . @ _ -")]
File = Annotated[
    Path | None, Option(help="The file of users; default: the setting dashboard.users_file.")
]
users = Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    help="List, add and remove the people who may sign in to the dashboard.",
)


@users.command("list")
def list_users(file: File = None, config: Config = None, as_json: AsJson = False) -> None:
    """List all users with their roles."""
    roles = {name: account.user.role for name, account in _open(file, config).accounts().items()}
    if as_json:
        print_json({"users": roles})
    elif roles:
        table = Table("user", "role")
        for name, role in roles.items():
            table.add_row(name, role)
        OUT.print(table)
    else:
        OUT.print("no users: add one with `undercam users add NAME`")


@users.command()
def add(
    name: Name,
    role: Annotated[
        Literal["viewer", "admin"], Option(help="An admin may change cameras, a viewer nothing.")
    ] = "viewer",
    file: File = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Add a user, or change the role and the password of one.

    Asks for the password twice; a script gives it as the first line of stdin instead. A running
    dashboard knows the change at once, and ends the sessions of a changed password.
    """
    is_new = _open(file, config).add(name, role, _read_password())
    if as_json:
        print_json({"user": name, "role": role, "new": is_new})
    else:
        OUT.print(f"{'added' if is_new else 'changed'} {name}, {role}")


@users.command()
def remove(name: Name, file: File = None, config: Config = None, as_json: AsJson = False) -> None:
    """Remove a user, and end their sessions."""
    _open(file, config).remove(name)
    if as_json:
        print_json({"removed": name})
    else:
        OUT.print(f"removed {name}")


def _open(file: Path | None, config: Path | None) -> UsersFile:
    from dashboard.sign_in.users import UsersFile

    path = str(file or load(config).dashboard.users_file)
    if not path:
        raise ConfigError("no file of users", "dashboard.users_file", "set it, or give --file")
    return UsersFile(path)


def _read_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("Password: ")
    if getpass("The same again: ") != password:
        raise ConfigError("the two passwords differ", "password", "try again")
    return password
