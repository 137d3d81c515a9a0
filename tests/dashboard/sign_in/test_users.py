"""The file of users, and the command that writes it."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from dashboard.sign_in.users import User, UsersFile, hash_password, is_password
from pipeline.cli.app import run
from pipeline.errors import ConfigError, InputError

PASSWORD = "correct horse 7"


@pytest.fixture
def file(tmp_path: Path) -> UsersFile:
    return UsersFile(tmp_path / "users")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def test_a_hash_holds_no_password_and_is_another_each_time() -> None:
    first, second = hash_password(PASSWORD), hash_password(PASSWORD)
    assert first != second
    assert PASSWORD not in first
    assert is_password(PASSWORD, first)
    assert is_password(PASSWORD, second)
    assert not is_password("correct horse 8", first)


def test_an_accent_is_the_same_however_it_is_composed() -> None:
    assert is_password("caf\u00e9 au lait", hash_password("cafe\u0301 au lait"))


@pytest.mark.parametrize("password", ["", "short", "x" * 257])
def test_a_password_has_a_length(password: str) -> None:
    with pytest.raises(ConfigError, match="10 to 256 characters"):
        hash_password(password)


def test_adding_changing_and_removing(file: UsersFile, path: Path) -> None:
    assert file.add("anna", "admin", PASSWORD)
    account = file.check("anna", PASSWORD)
    assert account
    assert account.user == User("anna", "admin")
    assert file.find("anna", account.password_hash) == User("anna", "admin")
    assert not file.add("anna", "viewer", "another password")
    assert file.check("anna", PASSWORD) is None
    assert file.find("anna", account.password_hash) is None
    assert UsersFile(path).check("anna", "another password")
    file.remove("anna")
    assert file.accounts() == {}
    with pytest.raises(ConfigError, match="no such user: anna"):
        file.remove("anna")


def test_another_process_is_noticed(file: UsersFile, path: Path) -> None:
    assert file.accounts() == {}
    UsersFile(path).add("bert", "viewer", PASSWORD)
    assert list(file.accounts()) == ["bert"]
    path.unlink()
    assert file.accounts() == {}


def test_only_its_owner_reads_it(file: UsersFile, path: Path) -> None:
    file.add("anna", "admin", PASSWORD)
    assert path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in path.read_text()
    assert os.listdir(path.parent) == ["users"]


@pytest.mark.parametrize("name", ["", "-anna", "a b", "a\nb", "#x", "ä", "x" * 65])
def test_a_name_that_is_none(file: UsersFile, name: str) -> None:
    with pytest.raises(ConfigError, match="not a user's name"):
        file.add(name, "viewer", PASSWORD)


@pytest.mark.parametrize("line", ["anna", "anna root scrypt$14$8$5$AA==$AA==", "anna admin secret"])
def test_a_line_that_is_none(file: UsersFile, path: Path, line: str) -> None:
    path.write_text(f"# users\n\n{line}\n")
    with pytest.raises(InputError, match=r"not a line of a users file: .*users:3: ") as error:
        file.accounts()
    assert "secret" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="users file not readable"):
        UsersFile(tmp_path).accounts()
    with pytest.raises(InputError, match="users file not written"):
        UsersFile("/proc/users").add("anna", "viewer", PASSWORD)


def typed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_the_command(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    at = ["--file", str(path)]
    typed(f"{PASSWORD}\n", monkeypatch)
    assert run(["users", "add", "anna", "--role", "admin", *at]) == 0
    assert UsersFile(path).check("anna", PASSWORD)
    typed(f"{PASSWORD}!\n", monkeypatch)
    assert run(["users", "add", "anna", "--json", *at]) == 0
    assert run(["users", "list", "--json", *at]) == 0
    assert run(["users", "list", *at]) == 0
    assert run(["users", "remove", "anna", *at]) == 0
    assert run(["users", "remove", "anna", *at]) == 2
    said = capsys.readouterr()
    assert "added anna, admin" in said.out
    assert '{"user": "anna", "role": "viewer", "new": false}' in said.out
    assert '{"users": {"anna": "viewer"}}' in said.out
    assert "undercam: no such user: anna: see `undercam users list`" in said.err
    assert PASSWORD not in said.out + said.err


def test_the_command_asks_twice(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    answers = iter([PASSWORD, PASSWORD, PASSWORD, "something else"])
    monkeypatch.setattr("pipeline.cli.users.getpass", lambda prompt: next(answers))
    assert run(["users", "add", "anna", "--file", str(path)]) == 0
    assert run(["users", "add", "bert", "--file", str(path)]) == 2
    assert "the two passwords differ" in capsys.readouterr().err
    assert list(UsersFile(path).accounts()) == ["anna"]


def test_the_file_of_the_settings(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert run(["users", "list"]) == 2
    assert "no file of users: dashboard.users_file" in capsys.readouterr().err
    monkeypatch.setenv("UNDERCAM_DASHBOARD__USERS_FILE", str(path))
    assert run(["users", "list"]) == 0
    assert "no users: add one" in capsys.readouterr().out
