"""Age limits of rows, and the watch that applies them and knows all erasures.

A limit deletes what an erasure of the same time would delete, and keeps that time for each camera:
what is older is not stored when it arrives late. It writes no erasure, and a recording is as old as
its first row.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Event, Thread

from sqlalchemy import Connection, Engine, func, select, update

from pipeline.clock import Clock, wall_clock
from pipeline.closing import Service
from pipeline.erasure import Erasure, ErasureFilter
from pipeline.errors import ServiceError
from pipeline.store.deletion import (
    RECORDING_CHARS,
    ErasureCounts,
    delete_before,
    delete_dead_letters,
    delete_run,
    find_recordings,
)
from pipeline.store.engine import begin_read, begin_write, reopen_if_replaced, use_store
from pipeline.store.erasures import insert_erasures, lock_for_erasing, read_erasures
from pipeline.store.schema import cameras, observations, retention
from pipeline.store.upserts import insert_new

EVERY_S = 1.0
"""Seconds between two reads of the erasures."""
APPLY_EVERY_S = 600.0
"""Seconds between two deletions of what has become too old."""
DAY_MS = 86_400_000


def apply_retention(
    engine: Engine, keep_days: float | None, clock: Clock = wall_clock
) -> ErasureCounts:
    """Delete what is older than each camera's `keep_days`, or than the one given; None: nothing.

    One transaction per camera and day, so that nobody waits long for its end. Raises ServiceError.
    """
    counts, limits = ErasureCounts(), []
    for camera, days in _read_days(engine, keep_days):
        before_ms = max(clock() - round(days * DAY_MS), 0)
        limits.append(Erasure(camera, before_ms=before_ms))
        day_ms = 0
        while day_ms < before_ms:
            day_ms = min(_end_of_oldest_day(engine, camera, before_ms), before_ms)
            with begin_write(engine) as connection:
                lock_for_erasing(connection)
                _raise_limit(connection, camera, day_ms)
                counts += delete_before(connection, camera, day_ms)
                for run in find_recordings(connection, camera, day_ms):
                    counts += delete_run(connection, camera, run)
    if limits:
        with begin_write(engine) as connection:
            lock_for_erasing(connection)
            dead = delete_dead_letters(connection, ErasureFilter(limits))
        counts += ErasureCounts(dead_letters=dead)
    return counts


def _read_days(engine: Engine, keep_days: float | None) -> list[tuple[str, float]]:
    """The cameras whose rows have an age limit, each with its days."""
    with begin_read(engine) as connection:
        rows = connection.execute(select(cameras.c.camera, cameras.c.settings)).all()
    own = {camera: json.loads(settings or "{}").get("keep_days") for camera, settings in rows}
    days = {camera: keep_days if limit is None else limit for camera, limit in own.items()}
    return [(camera, limit) for camera, limit in sorted(days.items()) if limit is not None]


def _end_of_oldest_day(engine: Engine, camera: str, default_ms: int) -> int:
    """The end of the day of a live camera's oldest capture."""
    live = func.length(observations.c.run) != RECORDING_CHARS
    query = select(func.min(observations.c.captured_ms)).where(live)
    with begin_read(engine) as connection:
        oldest = connection.execute(query.where(observations.c.camera == camera)).scalar_one()
    return default_ms if oldest is None else oldest - oldest % DAY_MS + DAY_MS


def _raise_limit(connection: Connection, camera: str, kept_from_ms: int) -> None:
    """The time from which on captures are kept only ever grows: what is deleted stays deleted."""
    row = {"camera": camera, "kept_from_ms": kept_from_ms}
    insert_new(connection, retention, {camera: row})
    is_older = retention.c.kept_from_ms < kept_from_ms
    grow = update(retention).where(retention.c.camera == camera, is_older)
    connection.execute(grow.values(kept_from_ms=kept_from_ms))


class ErasureWatch(Service):
    """Reads the erasures every second on a thread of its own, and applies the age limits when it
    starts and every ten minutes. While the database is away, what is known stays known."""

    def __init__(
        self,
        url: str,
        busy_timeout_s: float,
        keep_days: float | None,
        every_s: float = EVERY_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._busy_timeout_s, self._keep_days = url, busy_timeout_s, keep_days
        self._every_s, self._now = every_s, now
        self._apply_at_s = now()
        self._erasures: tuple[Erasure, ...] = ()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="erasures", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def __call__(self) -> tuple[Erasure, ...]:
        """The erasures as last read; the same object until there is another one."""
        return self._erasures

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.ident:
            # A deletion that is under way may take longer; it ends with the process, or is undone.
            self._thread.join(self._busy_timeout_s + 1.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with use_store(self._url, self._busy_timeout_s) as engine:
                    self._watch(engine)
            except ServiceError:  # the registry's watch reports it
                self._stop.wait(self._every_s)

    def _watch(self, engine: Engine) -> None:
        """With one engine, which waits for a removed file; opening anew would create one."""
        while not self._stop.is_set():
            try:
                self._read(engine)
                if self._now() >= self._apply_at_s:
                    apply_retention(engine, self._keep_days)
                    self._apply_at_s = self._now() + APPLY_EVERY_S
            except ServiceError:
                pass
            self._stop.wait(self._every_s)

    def _read(self, engine: Engine) -> None:
        if reopen_if_replaced(engine) and self._erasures:
            # The file was removed and created anew: what was erased stays erased all the same.
            with begin_write(engine) as connection:
                insert_erasures(connection, self._erasures)
        found = tuple(read_erasures(engine))
        if found != self._erasures:
            self._erasures = found
