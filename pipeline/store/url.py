"""The store's URL: which database it names, and which of its options are allowed."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pipeline.errors import ConfigError
from pipeline.store.service_errors import describe_location, option_error

_USABLE = "give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
_PREPARE = "prepare_threshold"


def parse_url(url: str) -> URL:
    """The URL with our driver's name; raises ConfigError for one that cannot be used."""
    try:
        target = make_url(url)
    except (ArgumentError, ValueError):
        # SQLAlchemy's message may contain the password.
        raise ConfigError("not a database URL", "store.url", _USABLE) from None
    if "@" in (target.host or ""):
        raise ConfigError("not a database URL", "store.url", "write @ in a password as %40")
    match target.get_backend_name():
        case "sqlite" if target.host or "\0" in (target.database or ""):
            raise ConfigError("not a database URL", "store.url", _USABLE)
        case "sqlite" if target.database and target.database != ":memory:":
            return target.set(drivername="sqlite")
        case "postgresql" | "postgres":
            return target.set(drivername="postgresql+psycopg")
        case "sqlite":
            what = "an in-memory database cannot be shared by processes"
            raise ConfigError(what, "store.url", _USABLE)
        case "mysql" | "mariadb" | "oracle" | "mssql" as other:
            raise ConfigError(f"unsupported database: {other}", "store.url", _USABLE)
        case _:
            # An unknown scheme is not repeated: a resolved reference may hold any secret.
            raise ConfigError("not a database URL", "store.url", _USABLE)


def sqlite_options(url: URL, busy_timeout_s: float) -> dict[str, Any]:
    """Keyword arguments for `sqlite3.connect`; raises ConfigError for an unusable option."""
    options = dict(url.query)
    timeout = options.pop("timeout", str(busy_timeout_s))
    for name in options:
        raise option_error(f"SQLite is opened without `{name}`: leave it out")
    try:
        seconds = float(timeout)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < 86_400:
        raise option_error("timeout is a number of seconds, less than a day")
    return {"timeout": seconds}


def postgres_options(url: URL, busy_timeout_s: float) -> dict[str, Any]:
    """Keyword arguments for `psycopg.connect`, beside the options in the URL itself.

    Statements are not prepared on the server unless the URL asks for it (`?prepare_threshold=5`):
    behind a connection pooler the next statement may run in another session. Raises ConfigError
    for options that PostgreSQL does not know.
    """
    try:
        from psycopg.pq import Conninfo
    except ImportError as error:
        raise ConfigError(
            "PostgreSQL's driver is missing",
            describe_location(url),
            "pip install 'undercam[postgres]'",
        ) from error
    known = {option.keyword.decode() for option in Conninfo.get_defaults()} | {_PREPARE}
    for name in url.query:
        if name not in known:
            raise option_error(f'invalid connection option "{name}"')
    # A server whose machine died sends no reset. Without keepalives and a user timeout, a
    # statement would wait for the kernel's retransmissions: a quarter of an hour and more.
    defaults: dict[str, Any] = {
        "connect_timeout": max(2, math.ceil(busy_timeout_s)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 1000 * max(2, math.ceil(busy_timeout_s)),
    }
    options = {name: value for name, value in defaults.items() if name not in url.query}
    return options | {_PREPARE: _prepare_threshold(url.query.get(_PREPARE))}


def _prepare_threshold(value: Any) -> int | None:
    if value is None:
        return None
    if not str(value).isdecimal():
        raise option_error(
            f"{_PREPARE} is the number of executions after which a statement is prepared"
        )
    return int(value)
