"""Records to Kafka: what was sent is with all brokers in sync, or an error says why not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError

from pipeline.bus.kafka.connection import DEAD, TOPICS, KafkaConnection
from pipeline.bus.kafka.faults import TOO_LARGE, explained
from pipeline.closing import Closing
from pipeline.errors import RecordRefused, ServiceError
from pipeline.records import DeadLetter, Mail
from pipeline.service_settings import BusSettings

CUT_BYTES = 16_384
"""What is kept of a dead letter that no broker takes whole."""
CUTS = (CUT_BYTES, 1_024, 0)
"""What is kept of one that is still too large."""
LEARNT_S = 60.0
"""Seconds for which a size that was refused is not tried again."""
LEAST_BYTES = 32_768
"""A broker that takes so much takes every record, and CUT_BYTES of a dead letter."""


class _Message(NamedTuple):
    topic: str
    value: bytes
    key: bytes
    headers: list[tuple[str, bytes]]

    @property
    def size(self) -> int:
        told = sum(len(name) + len(text) for name, text in self.headers)
        return len(self.value) + len(self.key) + told


class KafkaPublisher(Closing):
    """Sends records to the topics of `bus.topic_prefix`, a camera's always in order.

    It connects with the first `send`, or with `open`, and anew after any fault: what was under way
    then may arrive twice. A record that is too large for the brokers (`oversized` counts) becomes a
    dead letter; of one that is too large itself (`cut`), they get what they take.
    """

    def __init__(self, settings: BusSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.oversized = self.cut = 0
        self._link = KafkaConnection(settings)
        self._clock = clock
        self._producer: Any = None
        self._limits: dict[str, tuple[int, float]] = {}

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
                linger_ms=5,
                # What is under way beside a refused record is given up with it, and sent again.
                max_in_flight_requests_per_connection=1,
                max_block_ms=self._link.timeout_ms,
                delivery_timeout_ms=self._link.timeout_ms + 1000,
                metrics_enabled=False,
            )

    def send(self, mail: Sequence[Mail]) -> None:
        """Returns when all of it is acknowledged by all brokers in sync (acks=all).

        Raises ServiceError when that is not known: send all of it again. It is a RecordRefused
        where all is acknowledged but dead letters of which the brokers take nothing at all.
        """
        in_vain = self._send(mail)
        if in_vain:
            what = f"brokers take nothing of {in_vain} dead letters"
            remedy = f"raise message.max.bytes, of the topic too, to {LEAST_BYTES} or more"
            raise RecordRefused(what, self._link.where, remedy)

    def close(self) -> None:
        """Let go of the brokers."""
        producer, self._producer = self._producer, None
        if producer:
            try:
                producer.close(timeout=1)
            except KafkaError:
                # Its `close` gives up on what is under way before it ends its own thread.
                producer._sender.force_close()

    def _send(self, mail: Sequence[Mail]) -> int:
        """Returns the number of dead letters of which nothing is taken."""
        left = self._untaken(mail)
        if left and len(mail) == 1:
            return self._send_less(mail[0])
        half = (len(left) + 1) // 2
        return sum(self._send(part) for part in (left[:half], left[half:]) if part)

    def _send_less(self, mail: Mail) -> int:
        """Sends one that is too large as a dead letter, cut where it must be."""
        if not isinstance(mail, DeadLetter):
            self.oversized += 1
            size = len(mail.to_json().encode())
            return self._send([DeadLetter.of(mail, f"too large for Kafka: {size} bytes")])
        self.cut += 1
        # Even where the payload is short: what is cut last is the reason.
        return 0 if any(not self._untaken([mail.cut(most)]) for most in CUTS) else 1

    def _untaken(self, mail: Sequence[Mail]) -> list[Mail]:
        """Sends; returns what is too large, and what was given up because of it, in order."""
        self.open()
        # The client gives a record up after delivery_timeout_ms, and notices with a request's end.
        patience_s = 3 * self._link.timeout_ms / 1000
        left = []
        is_alive = True
        try:
            with explained(self._link.settings, self._link.where):
                sent = [(one, self._begun(self._message(one))) for one in mail]
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
            # For the client a refused record is the end: it gives up all that comes after.
            self.close()
            if len(mail) == 1:
                self._learn(self._message(mail[0]))
        return left

    def _begun(self, message: _Message) -> Any:
        """What will tell how the sending of it ends; None when it is known to be too large."""
        limit, until_s = self._limits.get(message.topic, (0, 0.0))
        if self._clock() < until_s and message.size >= limit:
            return None
        try:
            return self._producer.send(**message._asdict())
        except TOO_LARGE:
            return None

    def _learn(self, message: _Message) -> None:
        """So much was refused: it costs a connection, and more of the same may follow."""
        self._limits[message.topic] = (message.size, self._clock() + LEARNT_S)

    def _message(self, mail: Mail) -> _Message:
        if isinstance(mail, DeadLetter):
            origin, reason = (text.encode(errors="replace") for text in (mail.origin, mail.reason))
            headers = [("origin", origin), ("reason", reason)]
            return _Message(self._link.topic(DEAD), mail.payload, origin, headers)
        headers = [("id", mail.id.encode()), ("schema", mail.schema_.encode())]
        topic = self._link.topic(TOPICS[type(mail)])
        return _Message(topic, mail.to_json().encode(), mail.camera.encode(), headers)


def _is_taken(future: Any, patience_s: float) -> bool:
    if future is None:
        return False
    try:
        future.get(timeout=patience_s)
    except TOO_LARGE:
        return False
    return True
