"""Camera leases: which command reads which camera, for all commands that share a database.

A row per camera names its holder, whose heartbeat counter grows every second. Clocks of different
machines are never compared: a command that wants a camera of somebody else watches the counter by
its own monotonic clock, and takes the camera once the counter has stood still for the holder's own
`lease_ms`.

While the database is away nothing changes hands: a holder goes on reading, and nobody else can
take a camera. Two reads of a counter count as watching only when they follow each other closely,
and each read is part of a writing transaction: otherwise a database that serves reads but takes no
heartbeat (a full disk, say) would make every living holder look dead.
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
from pipeline.store.engine import begin_write, use_store
from pipeline.store.schema import camera_leases
from pipeline.store.upserts import insert_new

EVERY_S = 1.0
"""Seconds between two heartbeats."""
PATIENCE_S = 2.0
"""Time-out of one statement: a slow one must not keep the following heartbeats from being sent."""
MAX_READ_GAP_S = 3 * EVERY_S
"""After a longer pause between two reads, watching starts again from zero."""


@dataclass(frozen=True)
class LeaseClaims:
    """Result of a claim: the cameras that are ours, the holders of others by camera, and what keeps
    the leases from being renewed ("" while nothing does)."""

    ours: frozenset[str] = frozenset()
    others: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""


class _Reading(NamedTuple):
    incarnation: str
    heartbeat: int
    since_s: float


class LeaseTable:
    """The lease rows from the view of one command. Not for several threads."""

    def __init__(
        self, holder: Holder, lease_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`lease_s`: how long after our last heartbeat another command may take our cameras."""
        self._holder, self._lease_ms, self._now = holder, round(lease_s * 1000), now
        self._seen: dict[str, _Reading] = {}
        self._read_s = now()

    def claim(self, engine: Engine, cameras: Collection[str]) -> LeaseClaims:
        """Renew our leases, take free cameras among `cameras`, and give back all others.

        Raises ServiceError when the database cannot answer: then no lease has changed.
        """
        with begin_write(engine) as connection:
            self._watch(connection)
            ours = frozenset(c for c in sorted(cameras) if self._take(connection, c))
            self._give_back(connection, ours)
            rows = connection.execute(select(camera_leases)).all()
        others = {row.camera: row.holder for row in rows if row.camera in set(cameras) - ours}
        return LeaseClaims(ours, others)

    def release(self, engine: Engine) -> None:
        """Give back all our cameras; raises ServiceError."""
        with begin_write(engine) as connection:
            self._give_back(connection, frozenset())

    def _watch(self, connection: Connection) -> None:
        now, before = self._now(), self._seen
        if now - self._read_s > MAX_READ_GAP_S:
            before = {}
        self._read_s, self._seen = now, {}
        for row in connection.execute(select(camera_leases)):
            seen = before.get(row.camera)
            if seen is None or seen[:2] != (row.incarnation, row.heartbeat):
                seen = _Reading(row.incarnation, row.heartbeat, now)
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
        # Compare and swap: the update finds no row when somebody took or renewed it since our read.
        is_theirs = seen.incarnation != self._holder.incarnation
        swap = update(camera_leases).where(
            old.camera == camera,
            old.incarnation == seen.incarnation,
            old.heartbeat == seen.heartbeat,
        )
        if is_theirs:
            swap = swap.where(old.lease_ms <= round((self._now() - seen.since_s) * 1000))
        grown = swap.values(row | {"heartbeat": seen.heartbeat + 1})
        return bool(connection.execute(grown).rowcount)

    def _give_back(self, connection: Connection, kept: frozenset[str]) -> None:
        mine = camera_leases.c.incarnation == self._holder.incarnation
        unwanted = camera_leases.c.camera.not_in(sorted(kept))
        connection.execute(delete(camera_leases).where(mine, unwanted))


class LeaseKeeper(Service):
    """Renews a LeaseTable on a thread of its own, so that a slow database blocks no caller.

    While the database is away, our cameras stay ours.
    """

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
        self._thread = Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def __call__(self, cameras: Collection[str]) -> LeaseClaims:
        """The claims of the last renewal; from now on these cameras, and no others, are claimed."""
        with self._lock:
            wanted = frozenset(cameras)
            if wanted != self._cameras:
                self._cameras = wanted
                self._wake.set()
            return self._claims

    def close(self) -> None:
        """Give all cameras back, if the database answers, and end the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with use_store(self._url, self._patience_s) as engine:
                    self._renew_until_stopped(engine)
            except ServiceError as error:
                self._set_claims(error)
                self._stop.wait(self._every_s)

    def _renew_until_stopped(self, engine: Engine) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            cameras = self._cameras
            if cameras is not None and (cameras or self._claims.ours):
                try:
                    self._set_claims(self._table.claim(engine, cameras))
                except ServiceError as error:
                    self._set_claims(error)
            self._wake.wait(self._every_s)
        with suppress(ServiceError):
            self._table.release(engine)

    def _set_claims(self, news: LeaseClaims | ServiceError) -> None:
        with self._lock:
            if isinstance(news, ServiceError):
                news = LeaseClaims(self._claims.ours, self._claims.others, str(news))
            self._claims = news
