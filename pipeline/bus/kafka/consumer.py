"""Records from Kafka, for one member of the store's consumer group."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import MemberState, OffsetAndMetadata, TopicPartition

from pipeline.bus.kafka.batches import Unreadable, tolerate_damage
from pipeline.bus.kafka.connection import DEAD, KafkaConnection
from pipeline.bus.kafka.errors import REBALANCED, last_fault, translate_errors
from pipeline.closing import Closing
from pipeline.errors import ServiceError
from pipeline.messages import NEWER, read_record
from pipeline.records import DeadLetter, Event
from pipeline.service_settings import BusSettings

TOPICS_S = 10.0
"""How often the topics' partitions are asked for. A member that joined while a topic was being
created, by the relay for one, may have been given none of its partitions."""
SESSION_S = 15.0
"""Seconds after which the group gives the partitions of a member that died to others."""


@dataclass
class Batch:
    """What was polled: events, records that cannot be read, and what is in the dead topic."""

    events: list[Event] = field(default_factory=list)
    unreadable: list[DeadLetter] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.events) + len(self.unreadable) + len(self.dead)


class RecordConsumer(Closing):
    """Reads the topics from the last commit of the group `bus.group`, at first from their start.

    Connects when it is made; raises ServiceError. Only `commit` moves on for good: what was polled
    and not committed is read again after a restart, by the member that has the partition then. No
    record stops it; those of a transaction come when it is committed, and never if it was aborted.
    """

    def __init__(self, settings: BusSettings, batch_rows: int = 500) -> None:
        self._began_s = time.monotonic()
        self._connection = KafkaConnection(settings)
        self._connection.prepare()
        self._offsets: dict[Any, Any] = {}
        self._early: list[Any] = []
        self._dead_topic = self._connection.topic(DEAD)
        self._consumer = self._connection.connect(
            KafkaConsumer,
            group_id=settings.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            isolation_level="read_committed",
            max_poll_records=batch_rows,
            session_timeout_ms=round(SESSION_S * 1000),
            metadata_max_age_ms=round(TOPICS_S * 1000),
            metrics_enabled=False,
        )
        tolerate_damage(self._consumer)
        self._consumer.subscribe(self._connection.topics)

    def poll(self, wait_s: float) -> Batch:
        """The next records, at most `batch_rows`; nothing when none came in that time."""
        self._consumer.resume(*self._consumer.paused())
        early, self._early = self._early, []
        batch = Batch()
        for record in early or self._fetch(wait_s):
            self._sort(record, batch)
        return batch

    def keep_alive(self, wait_s: float) -> None:
        """Wait without reading on: a member that does not poll loses its partitions."""
        self._consumer.pause(*self._consumer.assignment())
        # A partition assigned within this poll is not paused yet.
        self._early += self._fetch(wait_s)

    def commit(self) -> None:
        """Nothing that was polled is needed again.

        Raises ServiceError when the group does not answer: the next commit includes this one.
        """
        # Not those of partitions that went to others meanwhile: their offsets are theirs by now.
        mine = self._consumer.assignment()
        offsets = {place: self._offsets[place] for place in self._offsets if place in mine}
        try:
            with translate_errors(self._connection.settings, self._connection.where):
                self._consumer.commit(offsets, timeout_ms=self._connection.timeout_ms)
        except ServiceError as fault:
            if not isinstance(fault.__cause__, REBALANCED):
                raise
        self._offsets.clear()

    @property
    def is_member(self) -> bool:
        """Whether the group has given us our share of the partitions, be it none."""
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    @property
    def fault(self) -> ServiceError | None:
        """Why the brokers cannot be reached now, as far as the client has noticed."""
        since_s = time.monotonic() - 1.5 * self._connection.timeout_ms / 1000
        # Not what another client of this process has noticed before us: it may be mended.
        found = last_fault(self._connection.settings, max(since_s, self._began_s))
        return ServiceError(found[0], self._connection.where, found[1]) if found else None

    def close(self) -> None:
        """Leave the group; what is not committed goes to other members."""
        self._consumer.close(autocommit=False, timeout_ms=self._connection.timeout_ms)

    def _fetch(self, wait_s: float) -> list[Any]:
        with translate_errors(self._connection.settings, self._connection.where):
            try:
                polled = self._consumer.poll(round(wait_s * 1000))
            except KafkaError as error:
                if not error.retriable:
                    raise
                return []
        return [record for records in polled.values() for record in records]

    def _sort(self, record: Any, batch: Batch) -> None:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        read = self._read(record, place)
        if not isinstance(read, DeadLetter):
            batch.events.append(read)
        elif record.topic == self._dead_topic:
            batch.dead.append(read)
        else:
            batch.unreadable.append(read)
        partition = TopicPartition(record.topic, record.partition)
        self._offsets[partition] = OffsetAndMetadata(record.offset + 1, "", -1)

    def _read(self, record: Any, place: str) -> Event | DeadLetter:
        payload = record.value or b""
        if isinstance(record.headers, Unreadable):
            return DeadLetter(place, record.headers.reason, payload)
        if record.topic != self._dead_topic:
            return read_record(payload, place)
        headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        origin, reason = headers.get("origin", place), headers.get("reason", "not said")
        # During a rolling upgrade the stores of the old release put here what this one can read.
        read = read_record(payload, origin) if NEWER in reason else None
        # One that is still unreadable stays as it is, or its reason would change at every reading.
        if read is None or isinstance(read, DeadLetter):
            return DeadLetter(origin, reason, payload)
        return read
