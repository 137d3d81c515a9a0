"""Which cameras are ours to read: one command a camera, on everything that shares a database.

A row a camera says who reads it, and its heartbeat grows every second. No clock is compared with
another: whoever wants a camera of somebody else watches the heartbeat, by its own clock, and takes
the camera when it has stood still for as long as its holder said.

While the database is away nobody can watch, so nothing changes hands: who reads goes on, and who
does not has to ask first. Only looks that follow each other closely count as watching, and each is
a transaction that writes, so a database that takes no heartbeat lets nobody count them either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, delete, select, update

from pipeline.closing import Service
from pipeline.errors import ServiceError
from pipeline.holder import Holder
from pipeline.store.engine import storing, using_store
from pipeline.store.schema import camera_leases
from pipeline.store.upserts import insert_new

EVERY_S = 1.0
"""Between two heartbeats."""
PATIENCE_S = 2.0
"""For one answer of the database: a heartbeat that waits for it must not miss the next ones."""
CLOSE_LOOKS_S = 3 * EVERY_S
"""Looks further apart than this are not one watch."""


@dataclass(frozen=True)
class LeaseClaims:
    """What is known of the cameras that were asked for: those that are ours, who reads others, and
    why of the rest nothing is known; "" where nothing is wrong."""

    ours: frozenset[str] = frozenset()
    others: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""


class _Seen(NamedTuple):
    incarnation: str
    heartbeat: int
    since_s: float


class LeaseTable:
    """The rows, as one command sees them. For one thread."""

    def __init__(
        self, holder: Holder, lease_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`lease_s`: so long after its last heartbeat a camera of ours is free."""
        self._holder, self._lease_ms, self._now = holder, round(lease_s * 1000), now
        self._seen: dict[str, _Seen] = {}
        self._looked_s = now()

    def claim(self, engine: Engine, cameras: Collection[str]) -> LeaseClaims:
        """Renew what is ours, take what is free, give back what is not wanted any more.

        Raises ServiceError where the database cannot answer: then nothing has changed.
        """
        with storing(engine) as connection:
            self._watch(connection)
            ours = frozenset(c for c in sorted(cameras) if self._take(connection, c))
            self._give_back(connection, ours)
            rows = connection.execute(select(camera_leases)).all()
        others = {row.camera: row.holder for row in rows if row.camera in set(cameras) - ours}
        return LeaseClaims(ours, others)

    def release(self, engine: Engine) -> None:
        """Give back all that is ours; raises ServiceError."""
        with storing(engine) as connection:
            self._give_back(connection, frozenset())

    def _watch(self, connection: Connection) -> None:
        now, before = self._now(), self._seen
        if now - self._looked_s > CLOSE_LOOKS_S:
            before = {}
        self._looked_s, self._seen = now, {}
        for row in connection.execute(select(camera_leases)):
            seen = before.get(row.camera)
            if seen is None or seen[:2] != (row.incarnation, row.heartbeat):
                seen = _Seen(row.incarnation, row.heartbeat, now)
            self._seen[row.camera] = seen

    def _take(self, connection: Connection, camera: str) -> bool:
        row: dict[str, Any] = {
            "camera": camera,
            "holder": self._holder.who,
            "incarnation": self._holder.incarnation,
            "heartbeat": 1,
            "lease_ms": self._lease_ms,
        }
        seen = self._seen.get(camera)
        if seen is None:
            return bool(insert_new(connection, camera_leases, {camera: row}))
        old = camera_leases.c
        is_theirs = seen.incarnation != self._holder.incarnation
        taken = update(camera_leases).where(
            old.camera == camera,
            old.incarnation == seen.incarnation,
            old.heartbeat == seen.heartbeat,
        )
        if is_theirs:
            taken = taken.where(old.lease_ms <= round((self._now() - seen.since_s) * 1000))
        grown = taken.values(row | {"heartbeat": seen.heartbeat + 1})
        return bool(connection.execute(grown).rowcount)

    def _give_back(self, connection: Connection, kept: frozenset[str]) -> None:
        mine = camera_leases.c.incarnation == self._holder.incarnation
        unwanted = camera_leases.c.camera.not_in(sorted(kept))
        connection.execute(delete(camera_leases).where(mine, unwanted))


class LeaseKeeper(Service):
    """Keeps a LeaseTable on a thread of its own: a database that does not answer keeps nobody
    waiting, and what was ours stays ours until the database says otherwise."""

    def __init__(
        self,
        url: str,
        busy_timeout_s: float,
        holder: Holder,
        lease_s: float,
        every_s: float = EVERY_S,
    ) -> None:
        self._url, self._patience_s = url, min(busy_timeout_s, PATIENCE_S)
        self._table, self._every_s = LeaseTable(holder, lease_s), every_s
        self._cameras: frozenset[str] | None = None
        self._claims = LeaseClaims()
        self._lock, self._stop, self._wake = Lock(), Event(), Event()
        self._thread = Thread(target=self._main, name="leases", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def __call__(self, cameras: Collection[str]) -> LeaseClaims:
        """What is known of these cameras, which are asked for from now on, and no others."""
        with self._lock:
            wanted = frozenset(cameras)
            if wanted != self._cameras:
                self._cameras = wanted
                self._wake.set()
            return self._claims

    def close(self) -> None:
        """Give everything back, where the database answers, and ask for nothing more."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident:
            self._thread.join()

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                with using_store(self._url, self._patience_s) as engine:
                    self._keep(engine)
            except ServiceError as error:
                self._learn(error)
                self._stop.wait(self._every_s)

    def _keep(self, engine: Engine) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            cameras = self._cameras
            if cameras is not None and (cameras or self._claims.ours):
                try:
                    self._learn(self._table.claim(engine, cameras))
                except ServiceError as error:
                    self._learn(error)
            self._wake.wait(self._every_s)
        with suppress(ServiceError):
            self._table.release(engine)

    def _learn(self, news: LeaseClaims | ServiceError) -> None:
        with self._lock:
            if isinstance(news, ServiceError):
                news = LeaseClaims(self._claims.ours, self._claims.others, str(news))
            self._claims = news
