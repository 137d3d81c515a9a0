"""From the bus into the store: rows first, then the offsets, so that a restart loses nothing."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread

from pipeline.backoff import BackOff
from pipeline.bus.kafka.consumer import Batch, RecordConsumer
from pipeline.bus.kafka.publisher import KafkaPublisher
from pipeline.closing import Service
from pipeline.config import Settings, resolve
from pipeline.errors import RecordRefused, ServiceError, UndercamError
from pipeline.live.delivery import REPLAY_S, open_publisher
from pipeline.records import DeadLetter
from pipeline.redact import redact
from pipeline.store.engine import use_store
from pipeline.store.refusals import store_dead_letters, store_events
from pipeline.store.replay import replay_newer
from pipeline.store.writer import StoreWriter

LEAST_S, MOST_S = 0.5, 15.0
"""Seconds between two tries while the database is away."""
WAIT_S = 0.25
RETRY_S, IDLE_S = 1.0, 0.5
"""Seconds between two attempts to connect; and without a record, after which the bus is read to its
end."""


class StoreConsumer:
    """Stores what the feed brings, batch by batch, in this order:

    1. the events, in one transaction; 2. to the dead topic, what cannot be read and what the
    database refuses for good; 3. into the dead letters' table, what came from the dead topic, and
    what the dead topic does not take; 4. the offsets. Whatever fails before the last step is done
    again, and ids make it one row. No record stops it: `dead` counts the letters, `replayed` those
    of a newer release that it stored later.

    While database or broker is away, `fault` says why; the batch is kept, and so is our place in
    the consumer group.
    """

    def __init__(
        self,
        feed: RecordConsumer,
        publisher: KafkaPublisher,
        writer: StoreWriter,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.fault: ServiceError | None = None
        self.events = self.batches = self.dead = self.replayed = self._cut = 0
        self._feed = feed
        self._publisher = publisher
        self._writer = writer
        self._clock = clock
        self._backoff = BackOff(LEAST_S, MOST_S, clock, chance)
        self._held: Batch | None = None
        self._replay_s = -math.inf

    @property
    def cut(self) -> int:
        """Dead letters that the dead topic or the database took only in part."""
        return self._cut + self._publisher.cut

    @property
    def erased(self) -> int:
        """Records that were not stored because of an erasure or their camera's age limit."""
        return self._writer.erased

    def step(self) -> int:
        """One batch; returns the number of its records, 0 when none came or none could be stored.

        Raises ServiceError when the brokers refuse us for good.
        """
        if self._backoff.waits:
            self._feed.keep_alive(WAIT_S)
            return 0
        batch = self._held or self._feed.poll(WAIT_S)
        if not batch and self._feed.fault:
            self.fault = self._feed.fault
            return 0
        self._held = batch or None
        try:
            if batch:
                self._store(batch)
                self._held = None
                self._feed.commit()
            self._replay()
        except ServiceError as fault:
            self.fault = fault
            self._backoff.record_failure()
            return 0
        self.fault = None
        self._backoff.record_success()
        return len(batch)

    def run(self, stop: Callable[[], bool], until_idle_s: float = math.inf) -> None:
        """Step until `stop` says so, or until nothing came for so long.

        Raises ServiceError when nothing came because of a fault.
        """
        last_s = self._clock()
        while not stop():
            if self.step() or not (self.fault or self._feed.is_member):
                last_s = self._clock()
            if self._clock() - last_s >= until_idle_s:
                if self.fault:
                    raise self.fault
                return

    def _store(self, batch: Batch) -> None:
        erased = self._writer.erased
        refused = store_events(self._writer, batch.events)
        erased = self._writer.erased - erased
        dead = self._writer.drop_erased([*batch.unreadable, *refused])
        cut = store_dead_letters(self._writer, [*self._undeliverable(dead), *batch.dead])
        self.batches += 1
        self.events += len(batch.events) - len(refused) - erased
        self.dead += len(dead)
        self._cut += cut

    def _replay(self) -> None:
        if self._clock() >= self._replay_s:
            self.replayed += replay_newer(self._writer)
            self._replay_s = self._clock() + REPLAY_S

    def _undeliverable(self, dead: list[DeadLetter]) -> list[DeadLetter]:
        """Send them to the dead topic; returns those that it may not have."""
        try:
            if dead:
                self._publisher.send(dead)
        except RecordRefused:
            return dead
        return []


@contextmanager
def open_consumer(settings: Settings) -> Iterator[StoreConsumer]:
    """A consumer of the settings' bus and database; raises ServiceError where one is away."""
    url, busy_s = resolve(settings.store.url), settings.store.busy_timeout_s
    with (
        open_publisher(settings.bus) as publisher,
        use_store(url, busy_s) as engine,
        RecordConsumer(settings.bus, settings.store.batch_rows) as feed,
    ):
        yield StoreConsumer(
            feed, publisher, StoreWriter(engine, batch_rows=settings.store.batch_rows)
        )


class StoreService(Service):
    """A store consumer in a thread of its own, until it is closed; `fault` says why nothing is
    stored, "" while all is well."""

    def __init__(self, settings: Settings) -> None:
        self.fault = ""
        self._settings, self._stop = settings, Event()
        self._drain_until_s = 0.0
        self._thread = Thread(target=self._main, name="store", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, drain_s: float = 0.0, timeout_s: float | None = None) -> None:
        """Read the bus to its end, for at most `drain_s`, and stop. A bus or database that does
        not answer holds us up for `timeout_s` at most."""
        self._drain_until_s = time.monotonic() + drain_s
        self._stop.set()
        if self._thread.ident:
            self._thread.join(timeout_s)

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                with open_consumer(self._settings) as consumer:
                    consumer.run(partial(self._is_over, consumer))
                    consumer.run(self._is_drained, IDLE_S)
            except Exception as error:  # noqa: BLE001 - a thread that ends in silence stores nothing
                self.fault = _describe_fault(error)
                self._stop.wait(RETRY_S)

    def _is_over(self, consumer: StoreConsumer) -> bool:
        self.fault = str(consumer.fault or "")
        return self._stop.is_set()

    def _is_drained(self) -> bool:
        return time.monotonic() >= self._drain_until_s


def _describe_fault(error: Exception) -> str:
    is_ours = isinstance(error, UndercamError)
    return redact(str(error) if is_ours else f"unexpected error: {type(error).__name__}: {error}")
