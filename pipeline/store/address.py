"""The store's URL: which database it names, and which of its options can be used."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pipeline.errors import ConfigError
from pipeline.store.faults import option_refused, place

_USABLE = "give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
_PREPARE = "prepare_threshold"


def parsed(url: str) -> URL:
    """The URL with the driver that we use; raises ConfigError for one that cannot be used."""
    try:
        target = make_url(url)
    except (ArgumentError, ValueError):
        # Its text may hold the password.
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
        case "sqlite" | "mysql" | "mariadb" | "oracle" | "mssql" as other:
            raise ConfigError(f"not a database that can be shared: {other}", "store.url", _USABLE)
        case _:
            # A scheme is not repeated: what a reference holds may be anything.
            raise ConfigError("not a database URL", "store.url", _USABLE)


def sqlite_options(url: URL, busy_timeout_s: float) -> dict[str, Any]:
    """What the driver is opened with; raises ConfigError for options that cannot be used."""
    options = dict(url.query)
    timeout = options.pop("timeout", str(busy_timeout_s))
    for name in options:
        raise option_refused(f"SQLite is opened without `{name}`: leave it out")
    try:
        seconds = float(timeout)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < 86_400:
        raise option_refused("timeout is a number of seconds, at most a day")
    return {"timeout": seconds}


def postgres_options(url: URL, busy_timeout_s: float) -> dict[str, Any]:
    """What the driver is opened with, beside what the URL asks for itself.

    Statements are not prepared on the server unless the URL asks for it (`?prepare_threshold=5`):
    behind a pooler the next one may meet another session. Raises ConfigError for options that
    PostgreSQL does not know.
    """
    try:
        from psycopg.pq import Conninfo
    except ImportError as error:
        raise ConfigError(
            "PostgreSQL's driver is missing", place(url), "pip install 'undercam[postgres]'"
        ) from error
    known = {option.keyword.decode() for option in Conninfo.get_defaults()} | {_PREPARE}
    for name in url.query:
        if name not in known:
            raise option_refused(f'invalid connection option "{name}"')
    # A server whose machine died says nothing: ask whether it lives, or wait for hours.
    ours: dict[str, Any] = {
        "connect_timeout": max(2, math.ceil(busy_timeout_s)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 1000 * max(2, math.ceil(busy_timeout_s)),
    }
    options = {name: value for name, value in ours.items() if name not in url.query}
    return options | {_PREPARE: _threshold(url.query.get(_PREPARE))}


def _threshold(asked: Any) -> int | None:
    if asked is None:
        return None
    if not str(asked).isdecimal():
        raise option_refused(f"{_PREPARE} is the number of times a statement runs before it is")
    return int(asked)
