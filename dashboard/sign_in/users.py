"""The users who may sign in: a file with one line each, `NAME ROLE HASH`.

The file holds scrypt hashes of the passwords, never a password.
"""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import scrypt
from hmac import compare_digest
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal, get_args

from pipeline.errors import ConfigError, InputError

Role = Literal["viewer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.@_-]{0,63}")
MIN_CHARACTERS = 10
MAX_CHARACTERS = 256
"""Of a password: each attempt costs time that grows with its length."""
LOG_N, BLOCK, PARALLEL = 14, 8, 5
"""OWASP's scrypt parameters of 16 MiB: a server that answers many at once stays small."""
HEAD = "# Users of the dashboard, made by `undercam users add`: NAME ROLE HASH\n"


@dataclass(frozen=True)
class User:
    """Somebody who has signed in."""

    name: str
    role: Role


class SignInRefused(Exception):
    """Somebody who may not sign in; the message is for them."""


@dataclass(frozen=True)
class Account:
    """A line of the file."""

    user: User
    password_hash: str


def hash_password(password: str) -> str:
    """`scrypt$14$8$5$SALT$KEY`, with a new salt. Raises ConfigError for a short or long one."""
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        remedy = f"give {MIN_CHARACTERS} to {MAX_CHARACTERS} characters"
        raise ConfigError("password too short or too long", "password", remedy)
    salt = secrets.token_bytes(16)
    key = _derive_key(password, salt, LOG_N, BLOCK, PARALLEL)
    parts = (LOG_N, BLOCK, PARALLEL, b64encode(salt).decode(), b64encode(key).decode())
    return "$".join(map(str, ("scrypt", *parts)))


def is_password(password: str, password_hash: str) -> bool:
    """Whether the hash is that of this password."""
    _, log_n, block, parallel, salt, key = password_hash.split("$")
    found = _derive_key(password, b64decode(salt), int(log_n), int(block), int(parallel))
    return compare_digest(found, b64decode(key))


def _derive_key(password: str, salt: bytes, log_n: int, block: int, parallel: int) -> bytes:
    # One password has several encodings: keyboards differ in how they compose an accent.
    text = unicodedata.normalize("NFKC", password).encode()
    n, limit = 1 << log_n, 1 << 28
    return scrypt(text, salt=salt, n=n, r=block, p=parallel, maxmem=limit, dklen=32)


_NOBODY = Account(User("nobody", "viewer"), "scrypt$14$8$5$" + "A" * 22 + "==$" + "A" * 43 + "=")


class UsersFile:
    """The accounts of a file, read again when it has changed. A missing file has none."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._stamp: tuple[int, int, int] | None = None
        self._accounts: dict[str, Account] = {}

    def accounts(self) -> Mapping[str, Account]:
        """By name. Raises InputError for a file that cannot be read."""
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if stamp != self._stamp:
                self._accounts = _read(self._path)
                self._stamp = stamp
        except FileNotFoundError:
            self._accounts, self._stamp = {}, None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            remedy = f"make it readable for this user ({reason})"
            raise InputError("users file not readable", str(self._path), remedy) from error
        return self._accounts

    def check(self, name: str, password: str) -> Account | None:
        """The account with this name and password. Takes some 0.1 s, also for an unknown name."""
        account = self.accounts().get(name)
        is_right = is_password(password[:MAX_CHARACTERS], (account or _NOBODY).password_hash)
        return account if is_right else None

    def find(self, name: str, password_hash: str) -> User | None:
        """The user, while the password is still the one of this hash."""
        account = self.accounts().get(name)
        return account.user if account and account.password_hash == password_hash else None

    def add(self, name: str, role: Role, password: str) -> bool:
        """Adds a user, or changes one; returns whether it is new. Raises ConfigError."""
        if not NAME.fullmatch(name):
            remedy = "give letters, digits and . @ _ -, the first a letter or digit, at most 64"
            raise ConfigError("not a user's name", name, remedy)
        accounts = dict(self.accounts())
        is_new = name not in accounts
        self._write(accounts | {name: Account(User(name, role), hash_password(password))})
        return is_new

    def remove(self, name: str) -> None:
        """Removes a user. Raises ConfigError where there is none."""
        accounts = dict(self.accounts())
        if name not in accounts:
            raise ConfigError("no such user", name, "see `undercam users list`")
        del accounts[name]
        self._write(accounts)

    def _write(self, accounts: Mapping[str, Account]) -> None:
        lines = [f"{a.user.name} {a.user.role} {a.password_hash}\n" for a in accounts.values()]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with NamedTemporaryFile("w", dir=self._path.parent, delete=False) as file:
                file.write(HEAD + "".join(lines))  # its mode is 0600
            if self._path.exists():
                owner = self._path.stat()
                # Root changes the file of the service's user, who must still be able to read it.
                with suppress(PermissionError):
                    os.chown(file.name, owner.st_uid, owner.st_gid)
            os.replace(file.name, self._path)
        except OSError as error:
            remedy = f"give another file ({error.strerror})"
            raise InputError("users file not written", str(self._path), remedy) from error


def _read(path: Path) -> dict[str, Account]:
    accounts = [
        _parse(line, f"{path}:{number}")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if line.strip() and not line.startswith("#")
    ]
    return {account.user.name: account for account in accounts}


def _parse(line: str, where: str) -> Account:
    match line.split():
        case [name, role, text] if role in ROLES and _is_hash(text):
            return Account(User(name, role), text)
    raise InputError("not a line of a users file", where, "remove it, and `undercam users add`")


def _is_hash(text: str) -> bool:
    return bool(re.fullmatch(r"scrypt\$(1[0-9]|20)\$\d{1,2}\$\d{1,2}(\$[\w+/]+={0,2}){2}", text))
