"""Translates errors of a database driver into ours: one sentence, a remedy, and no credential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from pipeline.errors import ConfigError, RecordRefused, ServiceError, UndercamError
from pipeline.redact import redact

_SQLITE = {
    "SQLITE_BUSY": ("database is locked", "stop the other writer or raise store.busy_timeout_s"),
    "SQLITE_NOTADB": ("not a SQLite database", "give another path or move the file away"),
    "SQLITE_CORRUPT": ("database is damaged", "restore it from a backup or move the file away"),
    "SQLITE_CANTOPEN": (
        "cannot open the database",
        "check that its folder exists and is writable",
    ),
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
# An error raised while connecting carries no SQLSTATE: only its text tells the reasons apart.
_CONNECTING = {
    r"password authentication failed": ("wrong user or password", "correct the store's URL"),
    r"no password supplied": ("password is missing", "add it to the store's URL"),
    r'(database|role) ".*" does not exist': (
        "no such database or user",
        "create it or correct the store's URL",
    ),
    r"too many clients": ("database has no connection left", "raise max_connections"),
    r"does not support SSL": (
        "database server offers no TLS",
        "turn `ssl` on in its settings, or correct sslmode in the store's URL",
    ),
    r"does not match host name": (
        "database server's certificate names another host",
        "use the host that it names in the store's URL",
    ),
    r"certificate has expired": (
        "database server's certificate has expired",
        "renew it on the server",
    ),
    r"certificate verify failed": (
        "database server's certificate is not trusted",
        "give the certificate of the authority that signed it as sslrootcert in the store's URL",
    ),
    r"root certificate file .* does not exist|locate root certificate": (
        "authority's certificate is missing",
        "correct sslrootcert in the store's URL",
    ),
}
_AWAY = re.compile(
    r"Connection refused|socket .* failed: No such file|timeout expired|[Tt]imed? ?out|"
    r"No route to host|unreachable|failed to resolve|closed the connection|"
    r"Connection reset|connection is lost"
)
"""In the text of an error where no server answers."""
_OPTION = re.compile(
    r"connection option|bad value for|invalid \S+ value|invalid port number|definition of service"
)
"""In the text of an error about an option, which libpq raises before it connects."""
_WHERE = re.compile(r"^.*(?:failed|is bad): (?:FATAL: *)?")
"""The prefix of a libpq message: the host, which our message names itself."""
_TOO_LARGE = "54"
"""PostgreSQL's SQLSTATE class for exceeded limits, such as a key too long for its index."""
_UNREACHABLE = (
    "database cannot be reached",
    "start it, or correct host and port in the store's URL",
)


def describe_location(url: URL) -> str:
    """Host and name of a database, or its file, without user, password or options."""
    if url.get_backend_name() == "sqlite":
        return url.database or "memory"
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()}://{url.host or 'local socket'}{port}/{url.database or ''}"


@contextmanager
def translate_errors(url: URL) -> Iterator[None]:
    """Raises `to_service_error` of whatever the database or its driver raises in the block."""
    try:
        yield
    except (UnicodeError, OverflowError, DBAPIError) as error:
        raise to_service_error(error, url) from error


def to_service_error(error: Exception, url: URL) -> UndercamError:
    """A ServiceError that names the database.

    A RecordRefused where the values are at fault and not the database: sending them again never
    helps. A ConfigError where an option of the URL is at fault.
    """
    where = describe_location(url)
    if not isinstance(error, DBAPIError):
        return RecordRefused("database refuses a value", where, str(error))
    if _OPTION.search(str(error.orig)) and not getattr(error.orig, "sqlstate", None):
        return option_error(_driver_message(error))
    if _is_in_values(error):
        return RecordRefused("database refuses a value", where, str(error.orig).splitlines()[0])
    what, remedy = _reason_and_remedy(error)
    return ServiceError(what, where, remedy)


def option_error(reason: str) -> ConfigError:
    """The error for an unusable option in the query of a store's URL."""
    return ConfigError("option cannot be used", "store.url", reason)


def _driver_message(error: DBAPIError) -> str:
    """The driver's own reason, without credentials."""
    lines = str(error.orig).strip().splitlines()
    # libpq writes one line for each address of a host, and hints below some of them.
    reasons = [line for line in lines if _WHERE.match(line)] or lines[:1]
    return redact(_WHERE.sub("", reasons[-1]))


def _is_in_values(error: DBAPIError) -> bool:
    is_too_large = str(getattr(error.orig, "sqlstate", "")).startswith(_TOO_LARGE)
    return is_too_large or isinstance(error, (DataError, IntegrityError))


def _reason_and_remedy(error: DBAPIError) -> tuple[str, str]:
    message = str(error.orig)
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        known = (reason for family, reason in _SQLITE.items() if name.startswith(family))
        return next(known, ("database refuses", message))
    code = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated:
        return _UNREACHABLE
    if code is not None:
        return _POSTGRES.get(code, ("database refuses", message.splitlines()[0]))
    known = (reason for pattern, reason in _CONNECTING.items() if re.search(pattern, message))
    is_away = _AWAY.search(message)
    refusal = (
        _UNREACHABLE if is_away else ("database refuses the connection", _driver_message(error))
    )
    return next(known, refusal)
