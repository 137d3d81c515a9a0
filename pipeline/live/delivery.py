"""Where a relay's batches go: to Kafka where `bus.url` is set, else straight into the store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.bus.relay import Deliver
from pipeline.config import Settings, resolve
from pipeline.errors import ConfigError
from pipeline.messages import Message
from pipeline.service_settings import BusSettings, StoreSettings
from pipeline.store.engine import open_store
from pipeline.store.refusals import store_messages
from pipeline.store.replay import replay_newer
from pipeline.store.writer import StoreWriter

if TYPE_CHECKING:
    from pipeline.bus.kafka.publisher import KafkaPublisher

REPLAY_S = 600.0
"""Between two looks for dead letters that are readable by now: during a rolling upgrade, stores of
the old release go on writing them for a while."""


CountErased = Callable[[int], None]
"""Called with a number of records that were not stored, because they were erased or are too old."""


@contextmanager
def delivery(
    settings: Settings, count_erased: CountErased = lambda number: None
) -> Iterator[Deliver]:
    """A `deliver` for relays. It connects with the first batch, so that cameras may start while
    bus or store is away; raises ConfigError for settings that cannot be used."""
    if settings.bus.url:
        with open_publisher(settings.bus) as publisher:
            yield publisher.send
    else:
        into_store = IntoStore(settings.store, count_erased=count_erased)
        try:
            yield into_store
        finally:
            into_store.close()


def open_publisher(settings: BusSettings) -> KafkaPublisher:
    """A publisher, not connected yet; raises ConfigError where Kafka's client is not installed."""
    try:
        from pipeline.bus.kafka.publisher import KafkaPublisher
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Kafka's client is missing", "bus.url", "pip install 'undercam[kafka]'"
        ) from error
    return KafkaPublisher(settings)


class IntoStore:
    """Writes messages into the database, which it opens with the first batch."""

    def __init__(
        self,
        settings: StoreSettings,
        clock: Callable[[], float] = time.monotonic,
        count_erased: CountErased = lambda number: None,
    ) -> None:
        self._settings, self._clock, self._count_erased = settings, clock, count_erased
        self._replay_s = -math.inf
        self._writer: StoreWriter | None = None
        self._url = resolve(settings.url)

    def __call__(self, messages: Sequence[Message]) -> int:
        """Returns when all is committed, with the number of records that became dead letters.

        Raises ServiceError when the database cannot take it.
        """
        if self._writer is None:
            self._engine = open_store(self._url, self._settings.busy_timeout_s)
            self._writer = StoreWriter(self._engine, batch_rows=self._settings.batch_rows)
        erased = self._writer.erased
        dead = store_messages(self._writer, messages)
        self._count_erased(self._writer.erased - erased)
        if self._clock() >= self._replay_s:
            replay_newer(self._writer)
            # Only now: one that fails is tried again with the next batch.
            self._replay_s = self._clock() + REPLAY_S
        return dead

    def close(self) -> None:
        """Disconnect from the database."""
        if self._writer:
            self._engine.dispose()
            self._writer = None
