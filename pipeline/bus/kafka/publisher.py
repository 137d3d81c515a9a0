"""Records to Kafka: what was sent is with all brokers in sync, or an error says why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError

from pipeline.bus.kafka.faults import TOO_LARGE, explained
from pipeline.bus.kafka.link import DEAD, TOPICS, Link
from pipeline.closing import Closing
from pipeline.errors import ServiceError
from pipeline.records import DeadLetter, Mail
from pipeline.settings import BusSettings

CUT_BYTES = 16_384
"""What is kept of a dead letter that no broker takes whole."""


class _Message(NamedTuple):
    topic: str
    value: bytes
    key: bytes
    headers: list[tuple[str, bytes]]


class KafkaPublisher(Closing):
    """Sends records to the topics of `bus.topic_prefix`, a camera's always in order.

    It connects with the first `send`, or with `open`, and anew after any fault: what was under way
    then may arrive twice. A record that is too large for the brokers becomes a dead letter.
    """

    def __init__(self, settings: BusSettings) -> None:
        self.oversized = 0
        self._link = Link(settings)
        self._producer: Any = None

    def open(self) -> None:
        """Connect and see to the topics, unless that is done; raises ServiceError."""
        if self._producer is None:
            self._link.prepare()
            self._producer = self._link.connect(
                KafkaProducer,
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                batch_size=65_536,
                linger_ms=20,
                max_block_ms=self._link.timeout_ms,
                delivery_timeout_ms=self._link.timeout_ms + 1000,
                metrics_enabled=False,
            )

    def send(self, mail: Sequence[Mail]) -> None:
        """Returns when all of it is acknowledged by all brokers in sync (acks=all).

        Raises ServiceError when that is not known: send all of it again.
        """
        self.open()
        try:
            with explained(self._link.settings, self._link.where):
                self._produce([self._message(one) for one in mail])
            return
        except ServiceError as fault:
            self.close()
            if not isinstance(fault.__cause__, TOO_LARGE):
                raise
        half = len(mail) // 2
        if half:
            self.send(mail[:half])
            self.send(mail[half:])
        else:
            self._send_cut(mail[0])

    def close(self) -> None:
        """Let go of the brokers."""
        producer, self._producer = self._producer, None
        if producer:
            try:
                producer.close(timeout=1)
            except KafkaError:
                # Its `close` gives up on what is under way before it ends its own thread.
                producer._sender.force_close()

    def _produce(self, messages: Sequence[_Message]) -> None:
        sent = [self._producer.send(**message._asdict()) for message in messages]
        # The client gives a record up after delivery_timeout_ms, and notices with a request's end.
        patience_s = 3 * self._link.timeout_ms / 1000
        self._producer.flush(patience_s)
        for future in sent:
            future.get(timeout=patience_s)

    def _message(self, mail: Mail) -> _Message:
        if isinstance(mail, DeadLetter):
            origin, reason = (text.encode(errors="replace") for text in (mail.origin, mail.reason))
            headers = [("origin", origin), ("reason", reason)]
            return _Message(self._link.topic(DEAD), mail.payload, origin, headers)
        headers = [("id", mail.id.encode()), ("schema", mail.schema_.encode())]
        topic = self._link.topic(TOPICS[type(mail)])
        return _Message(topic, mail.to_json().encode(), mail.camera.encode(), headers)

    def _send_cut(self, mail: Mail) -> None:
        """One record that is too large: it goes on as a dead letter, cut where it has to be."""
        if not isinstance(mail, DeadLetter):
            self.oversized += 1
            size = len(mail.to_json().encode())
            return self.send([DeadLetter.of(mail, f"too large for Kafka: {size} bytes")])
        size = len(mail.payload)
        if size <= CUT_BYTES:
            remedy = f"raise message.max.bytes above {2 * CUT_BYTES}"
            raise ServiceError("brokers take no record of this size", self._link.where, remedy)
        reason = f"{mail.reason} (the first {CUT_BYTES} of {size} bytes)"
        self.send([DeadLetter(mail.origin, reason, mail.payload[:CUT_BYTES])])
