"""What a database driver says, as one sentence with a remedy and without a credential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from pipeline.errors import ConfigError, RecordRefused, ServiceError
from pipeline.redact import redact

_SQLITE = {
    "SQLITE_BUSY": ("database is locked", "stop the other writer or raise store.busy_timeout_s"),
    "SQLITE_NOTADB": ("not a SQLite database", "give another path or move the file away"),
    "SQLITE_CORRUPT": ("database is damaged", "restore it from a backup or move the file away"),
    "SQLITE_CANTOPEN": ("cannot open the database", "check that its folder exists and is ours"),
    "SQLITE_READONLY": ("database is read-only", "make the file and its folder writable"),
    "SQLITE_FULL": ("disk is full", "free space; what was not stored will be sent again"),
    "SQLITE_IOERR": ("cannot read or write the disk", "check the disk that holds the database"),
}
_POSTGRES = {
    "25006": ("database is read-only", "connect to the primary server"),
    "42501": ("permission denied", "grant this user the rights to create and write tables"),
    "53100": ("disk is full", "free space; what was not stored will be sent again"),
    "55P03": ("database is locked", "end the session that holds the lock"),
}
# What fails while connecting carries no code, only words: the server's, or the driver's.
_CONNECTING = {
    r"password authentication failed": ("wrong user or password", "correct the store's URL"),
    r"no password supplied": ("password is missing", "add it to the store's URL"),
    r'(database|role) ".*" does not exist': (
        "no such database or user",
        "create it or correct the store's URL",
    ),
    r"too many clients": ("database has no connection left", "raise max_connections"),
}
_AWAY = re.compile(
    r"Connection refused|socket .* failed: No such file|timeout expired|[Tt]imed? ?out|"
    r"No route to host|unreachable|failed to resolve|closed the connection|"
    r"Connection reset|connection is lost"
)
"""Said where nobody answers; everything else is a reason of its own."""
_OPTION = re.compile(
    r"connection option|bad value for|invalid \S+ value|invalid port number|definition of service"
)
"""Said of an option that cannot be used, before anyone is asked."""
_WHERE = re.compile(r"^.*(?:failed|is bad): (?:FATAL: *)?")
"""What the driver puts in front of a reason: the place, which we name ourselves."""
_TOO_LARGE = "54"
"""PostgreSQL's class of values that do not fit, as a key that no index holds."""
_UNREACHABLE = (
    "database cannot be reached",
    "start it, or correct host and port in the store's URL",
)


def place(url: URL) -> str:
    """Where a database is, without user, password or options."""
    if url.get_backend_name() == "sqlite":
        return url.database or "memory"
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()}://{url.host or 'local socket'}{port}/{url.database or ''}"


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Turns an error of the database or its driver into a ServiceError that names the place.

    It is a RecordRefused where the values are at fault, and not the database; a ConfigError where
    an option of the URL is.
    """
    try:
        yield
    except (UnicodeError, OverflowError) as error:
        raise RecordRefused("database refuses a value", place(url), str(error)) from error
    except DBAPIError as error:
        if _OPTION.search(str(error.orig)) and not getattr(error.orig, "sqlstate", None):
            raise option_refused(_said(error)) from error
        if _lies_in_values(error):
            said = str(error.orig).splitlines()[0]
            raise RecordRefused("database refuses a value", place(url), said) from error
        what, remedy = _reason(error)
        raise ServiceError(what, place(url), remedy) from error


def option_refused(reason: str) -> ConfigError:
    """An option behind the `?` of a store's URL, or part of it, that cannot be used."""
    return ConfigError("option cannot be used", "store.url", reason)


def _said(error: DBAPIError) -> str:
    """The reason in the driver's words."""
    lines = str(error.orig).strip().splitlines()
    # One line for each address of a host; below one may stand a hint.
    reasons = [line for line in lines if _WHERE.match(line)] or lines[:1]
    return redact(_WHERE.sub("", reasons[-1]))


def _lies_in_values(error: DBAPIError) -> bool:
    is_too_large = str(getattr(error.orig, "sqlstate", "")).startswith(_TOO_LARGE)
    return is_too_large or isinstance(error, (DataError, IntegrityError))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for one query; raises ServiceError when the database cannot answer."""
    with explained(engine.url), engine.connect() as connection:
        yield connection


def _reason(error: DBAPIError) -> tuple[str, str]:
    said = str(error.orig)
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        known = (reason for family, reason in _SQLITE.items() if name.startswith(family))
        return next(known, ("database refuses", said))
    code = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated:
        return _UNREACHABLE
    if code is not None:
        return _POSTGRES.get(code, ("database refuses", said.splitlines()[0]))
    known = (reason for sign, reason in _CONNECTING.items() if re.search(sign, said))
    is_away = _AWAY.search(said)
    refusal = _UNREACHABLE if is_away else ("database refuses the connection", _said(error))
    return next(known, refusal)
