"""A control interface as a running command serves it, without the rest of that command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.bus.locks import FileLock
from pipeline.config import Settings
from pipeline.control_client import RUN_LOCK, ControlFile
from pipeline.live.control import ControlServer
from pipeline.live.engine import State
from pipeline.permissions import make_folder


@contextmanager
def announced(settings: Settings) -> Iterator[list[str]]:
    """Served, its state folder locked, and its file written; yields a line for each command that
    has found it."""
    found: list[str] = []

    def state() -> State:
        found.append("health")
        return State()

    folder = Path(settings.outbox.folder)
    make_folder(folder)
    file = ControlFile(folder)
    lock = FileLock.acquire(folder / RUN_LOCK)
    assert lock
    with lock, ControlServer(settings, state) as server:
        file.update(server.address)
        yield found
        file.remove()
