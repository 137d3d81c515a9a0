"""Records to Kafka: what was sent is with all brokers in sync, or an error tells why not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError

from pipeline.bus.kafka.connection import DEAD, TOPICS, KafkaConnection
from pipeline.bus.kafka.errors import TOO_LARGE, translate_errors
from pipeline.closing import Closing
from pipeline.errors import RecordRefused, ServiceError
from pipeline.messages import EncodedRecord, Message, Schema, read_message
from pipeline.records import DeadLetter
from pipeline.service_settings import BusSettings

CUT_BYTES = 16_384
"""The part that is sent of a dead letter that no broker takes whole."""
CUTS = (CUT_BYTES, 1_024, 0)
"""The parts that are tried, while one is still too large."""
LIMIT_S = 60.0
"""Seconds for which a size that was refused is not tried again."""
LEAST_BYTES = 32_768
"""A broker that takes so much takes every record, and CUT_BYTES of a dead letter."""


_Encoded = EncodedRecord | DeadLetter


class _KafkaRecord(NamedTuple):
    topic: str
    value: bytes
    key: bytes
    headers: list[tuple[str, bytes]]

    @property
    def size(self) -> int:
        headers = sum(len(name) + len(text) for name, text in self.headers)
        return len(self.value) + len(self.key) + headers


class KafkaPublisher(Closing):
    """Sends records to the topics of `bus.topic_prefix`, a camera's always in order.

    Connects with the first `send`, or with `open`, and again after any fault: what was under way
    then may arrive twice. An encoded record is sent as it is. One that is too large for the brokers
    (`oversized` counts) becomes a dead letter; of a dead letter that is too large (`cut`), a part
    is sent.
    """

    def __init__(self, settings: BusSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.oversized = self.cut = 0
        self._connection = KafkaConnection(settings)
        self._clock = clock
        self._producer: Any = None
        self._limits: dict[str, tuple[int, float]] = {}

    def open(self) -> None:
        """Connect and create missing topics, unless that is done; raises ServiceError."""
        if self._producer is None:
            self._connection.prepare()
            self._producer = self._connection.connect(
                KafkaProducer,
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                batch_size=65_536,
                linger_ms=5,
                # The client fails whatever is under way beside a refused record; it is sent again.
                max_in_flight_requests_per_connection=1,
                max_block_ms=self._connection.timeout_ms,
                delivery_timeout_ms=self._connection.timeout_ms + 1000,
                metrics_enabled=False,
            )

    def send(self, messages: Sequence[Message]) -> None:
        """Returns when all of it is acknowledged by all brokers in sync (acks=all).

        Raises ServiceError when that is not known: send all of it again. It is a RecordRefused
        where all is acknowledged but dead letters of which the brokers take nothing at all.
        """
        refused = self._send([_encode(message) for message in messages])
        if refused:
            what = f"brokers take nothing of {refused} dead letters"
            remedy = f"raise message.max.bytes, of the topic too, to {LEAST_BYTES} or more"
            raise RecordRefused(what, self._connection.where, remedy)

    def close(self) -> None:
        """Disconnect."""
        producer, self._producer = self._producer, None
        if producer:
            try:
                producer.close(timeout=1)
            except KafkaError:
                # The client's `close` fails at what is under way, and leaves its thread running.
                producer._sender.force_close()

    def _send(self, messages: Sequence[_Encoded]) -> int:
        """Returns the number of dead letters of which nothing is taken."""
        left = self._send_once(messages)
        if left and len(messages) == 1:
            return self._send_less(messages[0])
        half = (len(left) + 1) // 2
        return sum(self._send(part) for part in (left[:half], left[half:]) if part)

    def _send_less(self, message: _Encoded) -> int:
        """Sends one that is too large as a dead letter, shortened where it must be."""
        if isinstance(message, EncodedRecord):
            self.oversized += 1
            reason = f"too large for Kafka: {len(message.payload)} bytes"
            return self._send([DeadLetter(message.id, reason, message.payload)])
        self.cut += 1
        # Even where the payload is short: the last cut shortens the reason.
        return 0 if any(not self._send_once([message.cut(most)]) for most in CUTS) else 1

    def _send_once(self, messages: Sequence[_Encoded]) -> list[_Encoded]:
        """Sends; returns what is too large, and what the client failed because of it, in order."""
        self.open()
        # The client fails a record after delivery_timeout_ms, and notices at the end of a request.
        patience_s = 3 * self._connection.timeout_ms / 1000
        left = []
        is_alive = True
        try:
            with translate_errors(self._connection.settings, self._connection.where):
                sent = [(one, self._start_sending(self._to_kafka(one))) for one in messages]
                for one, future in sent:
                    # Not `flush`: it fails where a batch was refused and goes on in parts.
                    if future is None:
                        left.append(one)
                    elif not _is_taken(future, patience_s):
                        left.append(one)
                        is_alive = False
        except ServiceError:
            self.close()
            raise
        if not is_alive:
            # A refused record is the end of the client: it fails all that comes after.
            self.close()
            if len(messages) == 1:
                self._note_limit(self._to_kafka(messages[0]))
        return left

    def _start_sending(self, record: _KafkaRecord) -> Any:
        """The future of its acknowledgement; None when it is known to be too large."""
        limit, until_s = self._limits.get(record.topic, (0, 0.0))
        if self._clock() < until_s and record.size >= limit:
            return None
        try:
            return self._producer.send(**record._asdict())
        except TOO_LARGE:
            return None

    def _note_limit(self, record: _KafkaRecord) -> None:
        """Remember the size that was refused: a try costs a connection, and more may follow."""
        self._limits[record.topic] = (record.size, self._clock() + LIMIT_S)

    def _to_kafka(self, message: _Encoded) -> _KafkaRecord:
        if isinstance(message, EncodedRecord):
            schema = Schema.parse(message.schema)
            if schema and schema.kind in TOPICS:
                headers = [("id", message.id.encode()), ("schema", message.schema.encode())]
                topic = self._connection.topic(TOPICS[schema.kind])
                return _KafkaRecord(topic, message.payload, message.camera.encode(), headers)
            message = _without_topic(message)
        origin, reason = (
            text.encode(errors="replace") for text in (message.origin, message.reason)
        )
        headers = [("origin", origin), ("reason", reason)]
        return _KafkaRecord(self._connection.topic(DEAD), message.payload, origin, headers)


def _encode(message: Message) -> _Encoded:
    return message if isinstance(message, _Encoded) else EncodedRecord.of(message)


def _without_topic(message: EncodedRecord) -> DeadLetter:
    """Of a kind that this release has no topic for: a store of the next one reads it again."""
    read = read_message(message)
    return read if isinstance(read, DeadLetter) else DeadLetter.of(read, "no topic for it")


def _is_taken(future: Any, patience_s: float) -> bool:
    if future is None:
        return False
    try:
        future.get(timeout=patience_s)
    except TOO_LARGE:
        return False
    return True
