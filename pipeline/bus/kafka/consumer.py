"""Records from Kafka, for one member of the store's consumer group."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import MemberState, OffsetAndMetadata, TopicPartition

from pipeline.bus.kafka.batches import Unreadable, read_whatever_comes
from pipeline.bus.kafka.connection import DEAD, KafkaConnection
from pipeline.bus.kafka.faults import REBALANCED, explained, trouble
from pipeline.closing import Closing
from pipeline.errors import ServiceError
from pipeline.records import DeadLetter, Event, Mail, read_record
from pipeline.service_settings import BusSettings

SESSION_S = 15.0
"""Seconds after which the group gives the partitions of a member that died to others."""


@dataclass
class Batch:
    """What came: events, records that no one can read, and the letters of the dead topic."""

    events: list[Event] = field(default_factory=list)
    unreadable: list[DeadLetter] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.events) + len(self.unreadable) + len(self.dead)


class KafkaRecords(Closing):
    """Reads the topics from the last commit of the group `bus.group`, at first from their start.

    Connects when it is made; raises ServiceError. Only `commit` moves on for good: what was polled
    and not committed is read again after a restart, by whoever has the partition then. No record
    stops it; those of a transaction come when it is committed, and never if it was aborted.
    """

    def __init__(self, settings: BusSettings, batch_rows: int = 500) -> None:
        self._link = KafkaConnection(settings)
        self._link.prepare()
        self._offsets: dict[Any, Any] = {}
        self._early: list[Any] = []
        self._dead_topic = self._link.topic(DEAD)
        self._consumer = self._link.connect(
            KafkaConsumer,
            group_id=settings.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            isolation_level="read_committed",
            max_poll_records=batch_rows,
            session_timeout_ms=round(SESSION_S * 1000),
            metrics_enabled=False,
        )
        read_whatever_comes(self._consumer)
        self._consumer.subscribe(self._link.topics)

    def poll(self, wait_s: float) -> Batch:
        """The next records, at most `batch_rows`; nothing when none came in that time."""
        self._consumer.resume(*self._consumer.paused())
        early, self._early = self._early, []
        batch = Batch()
        for record in early or self._fetch(wait_s):
            self._sort(record, batch)
        return batch

    def hold(self, wait_s: float) -> None:
        """Wait without reading on, as a living member of the group."""
        self._consumer.pause(*self._consumer.assignment())
        # A partition that was given to us just now is not paused yet.
        self._early += self._fetch(wait_s)

    def commit(self) -> None:
        """All that was polled is done with.

        Raises ServiceError when the group does not answer: then the next commit makes up for it.
        """
        mine = self._consumer.assignment()
        offsets = {place: self._offsets[place] for place in self._offsets if place in mine}
        try:
            with explained(self._link.settings, self._link.where):
                self._consumer.commit(offsets, timeout_ms=self._link.timeout_ms)
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
        """What keeps the brokers away at this time, as far as the client has noticed."""
        since_s = time.monotonic() - 1.5 * self._link.timeout_ms / 1000
        found = trouble(self._link.settings, since_s)
        return ServiceError(found[0], self._link.where, found[1]) if found else None

    def close(self) -> None:
        """Leave the group; what is not committed is for others."""
        self._consumer.close(autocommit=False, timeout_ms=self._link.timeout_ms)

    def _fetch(self, wait_s: float) -> list[Any]:
        with explained(self._link.settings, self._link.where):
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

    def _read(self, record: Any, place: str) -> Mail:
        payload = record.value or b""
        if isinstance(record.headers, Unreadable):
            return DeadLetter(place, record.headers.reason, payload)
        if record.topic != self._dead_topic:
            return read_record(payload, place)
        told = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        return DeadLetter(told.get("origin", place), told.get("reason", "not said"), payload)
