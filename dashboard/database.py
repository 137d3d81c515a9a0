"""The database, opened once for all viewers, and its answers, kept for one refresh."""

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

P = ParamSpec("P")
Answer = TypeVar("Answer")
Opened = tuple[Any, int]
"""The engine, and the number of the file it was opened on."""


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """The settings that the launcher left in the environment. Raises ConfigError."""
    return load()


def now_ms() -> int:
    """This refresh: the same moment for everything drawn in it, milliseconds UTC."""
    step = round(settings().dashboard.refresh_s * 1000)
    return wall_clock() // step * step


def ask(
    question: Callable[Concatenate[Any, P], Answer], *args: P.args, **kwargs: P.kwargs
) -> Answer:
    """The answer to one of `pipeline.store.queries`, asked at most once in a refresh.

    Raises UndercamError; the next question then opens the database anew.
    """
    try:
        answer: Answer = _answer(now_ms(), question.__name__, args, kwargs, question)
    except UndercamError:
        _open.clear()
        raise
    return answer


def place() -> str:
    """Where the database is, without its password. Raises UndercamError."""
    return redact(resolve(settings().store.url))


@st.cache_data(show_spinner=False, max_entries=200)
def _answer(tick: int, name: str, args: Any, kwargs: Any, _question: Any) -> Any:
    store = settings().store
    # A page waits no longer than a refresh for a lock: it will ask again.
    patience_s = min(store.busy_timeout_s, settings().dashboard.refresh_s)
    engine, _ = _open(resolve(store.url), patience_s)
    return _question(engine, *args, **kwargs)


def _file_number(engine: Any) -> int:
    """The inode of a SQLite file, 0 where there is none."""
    file = Path(engine.url.database or "")
    sqlite = engine.dialect.name == "sqlite"
    return file.stat().st_ino if sqlite and file.is_file() else 0


def _same_file(opened: Opened) -> bool:
    # A file that was deleted or replaced goes on answering to whoever had it open.
    engine, number = opened
    return _file_number(engine) == number


def _close(opened: Opened) -> None:
    opened[0].dispose()


@st.cache_resource(show_spinner=False, max_entries=1, validate=_same_file, on_release=_close)
def _open(url: str, patience_s: float) -> Opened:
    engine = open_store(url, patience_s, read_only=True)
    return engine, _file_number(engine)
