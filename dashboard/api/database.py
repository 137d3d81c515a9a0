"""The API's own connection to the database: opened at the first request, anew after a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

from pipeline.config import Settings, resolve
from pipeline.errors import UndercamError
from pipeline.store.engine import open_store

P = ParamSpec("P")
Result = TypeVar("Result")


class ReadOnlyDatabase:
    """Runs queries; safe to use from several threads. Nothing is written, created or migrated."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.store
        self._lock = Lock()
        self._engine: Any = None
        self._inode = 0

    def ask(
        self,
        function: Callable[Concatenate[Any, P], Result],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Result:
        """The result of a query. Raises UndercamError; the next call then opens anew."""
        engine = self.open()
        try:
            return function(engine, *args, **kwargs)
        except UndercamError:
            self.close()
            raise

    def open(self) -> Any:
        """The engine; a file that was replaced is opened anew."""
        with self._lock:
            if self._engine is not None and self._find_inode() != self._inode:
                self._engine.dispose()
                self._engine = None
            if self._engine is None:
                url = resolve(self._settings.url)
                self._engine = open_store(url, self._settings.busy_timeout_s, read_only=True)
                self._inode = self._find_inode()
            return self._engine

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _find_inode(self) -> int:
        file = Path(self._engine.url.database or "")
        is_file = self._engine.dialect.name == "sqlite" and file.is_file()
        return file.stat().st_ino if is_file else 0
