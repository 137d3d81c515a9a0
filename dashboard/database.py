"""The database, opened once for all viewers; query results are cached for one refresh."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import streamlit as st

from pipeline.clock import wall_clock
from pipeline.config import Settings, load, resolve
from pipeline.errors import UndercamError
from pipeline.redact import redact
from pipeline.store.engine import open_store

MINUTE_MS = 60_000
P = ParamSpec("P")
Result = TypeVar("Result")
Opened = tuple[Any, int]
"""The engine, and the inode of the file it was opened on."""


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """The settings that `dashboard.launch` put into the environment. Raises ConfigError."""
    return load()


def now_ms() -> int:
    """The time of this refresh, milliseconds UTC: the same for everything drawn in it."""
    step = round(settings().dashboard.refresh_s * 1000)
    return wall_clock() // step * step


def query(
    function: Callable[Concatenate[Any, P], Result], *args: P.args, **kwargs: P.kwargs
) -> Result:
    """The result of one of `pipeline.store.queries`, executed at most once per refresh.

    All viewers share the result. Raises UndercamError; the next call then opens the database anew.
    """
    try:
        result: Result = _cached_query(now_ms(), function.__name__, args, kwargs, function)
    except UndercamError:
        _open.clear()
        raise
    return result


def query_each_minute(
    function: Callable[Concatenate[Any, P], Result], *args: P.args, **kwargs: P.kwargs
) -> Result:
    """The same, executed at most once a minute for the same arguments: for what takes long and
    changes little."""
    minute = now_ms() // MINUTE_MS
    try:
        result: Result = _cached_query(-minute, function.__name__, args, kwargs, function)
    except UndercamError:
        _open.clear()
        raise
    return result


def describe_database() -> str:
    """The URL of the database without its password. Raises UndercamError."""
    return redact(resolve(settings().store.url))


@st.cache_data(show_spinner=False, max_entries=400)
def _cached_query(tick: int, name: str, args: Any, kwargs: Any, _function: Any) -> Any:
    store = settings().store
    # Wait for a lock no longer than one refresh: the next refresh tries again.
    timeout_s = min(store.busy_timeout_s, settings().dashboard.refresh_s)
    engine, _ = _open(resolve(store.url), timeout_s)
    return _function(engine, *args, **kwargs)


def _inode(engine: Any) -> int:
    """The inode of a SQLite file, 0 where there is none."""
    file = Path(engine.url.database or "")
    sqlite = engine.dialect.name == "sqlite"
    return file.stat().st_ino if sqlite and file.is_file() else 0


def _same_file(opened: Opened) -> bool:
    # An open engine keeps reading a file that was deleted or replaced.
    engine, inode = opened
    return _inode(engine) == inode


def _close(opened: Opened) -> None:
    opened[0].dispose()


@st.cache_resource(show_spinner=False, max_entries=1, validate=_same_file, on_release=_close)
def _open(url: str, timeout_s: float) -> Opened:
    engine = open_store(url, timeout_s, read_only=True)
    return engine, _inode(engine)
