"""What a database driver says, as one sentence with a remedy and without a credential."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from pipeline.errors import RecordRefused, ServiceError

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
# What fails while connecting carries no code, only the server's words.
_CONNECTING = {
    "password authentication failed": ("wrong user or password", "correct the store's URL"),
    "no password supplied": ("password is missing", "add it to the store's URL"),
    "does not exist": ("no such database or user", "create it or correct the store's URL"),
    "too many clients": ("database has no connection left", "raise max_connections"),
}
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

    It is a RecordRefused where the values are at fault, and not the database.
    """
    try:
        yield
    except (UnicodeError, OverflowError) as error:
        raise RecordRefused("database refuses a value", place(url), str(error)) from error
    except DBAPIError as error:
        if _lies_in_values(error):
            said = str(error.orig).splitlines()[0]
            raise RecordRefused("database refuses a value", place(url), said) from error
        what, remedy = _reason(error)
        raise ServiceError(what, place(url), remedy) from error


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
    if code is None:
        return next((_CONNECTING[sign] for sign in _CONNECTING if sign in said), _UNREACHABLE)
    if error.connection_invalidated:
        return _UNREACHABLE
    return _POSTGRES.get(code, ("database refuses", said.splitlines()[0]))
