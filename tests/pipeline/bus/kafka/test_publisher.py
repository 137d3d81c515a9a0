"""What was sent is in Kafka, in order; what cannot be says so and blocks nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer

from pipeline.bus.kafka.feed import KafkaFeed
from pipeline.bus.kafka.publisher import CUT_BYTES, KafkaPublisher
from pipeline.errors import ServiceError
from pipeline.records import DeadLetter, Event
from pipeline.settings import BusSettings
from tests.pipeline.broker import NEEDS_KAFKA, Broker

pytestmark = NEEDS_KAFKA
TOPICS = ("observations", "tracks", "cameras", "cameras")


@pytest.fixture
def publisher(bus: BusSettings) -> Iterator[KafkaPublisher]:
    with KafkaPublisher(bus) as made:
        yield made


def hosts(bus: BusSettings) -> str:
    return bus.url.removeprefix("kafka://")


def raw(bus: BusSettings, count: int) -> list[Any]:
    """All there is, as another program would see it; at least so many different records."""
    consumer = KafkaConsumer(
        bootstrap_servers=hosts(bus), group_id=None, auto_offset_reset="earliest"
    )
    names = ("observations", "tracks", "cameras", "dead")
    consumer.subscribe([f"{bus.topic_prefix}.{name}" for name in names])
    found: list[Any] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        records = [record for part in consumer.poll(500).values() for record in part]
        found += records
        if len({record.headers[0][1] for record in found}) >= count and not records:
            break
    consumer.close()
    return found


def test_what_is_on_the_wire(publisher: KafkaPublisher, bus: BusSettings, make: Any) -> None:
    events: list[Event] = [make.look(1), make.track(2), make.status(3), make.loss(4)]
    publisher.send([*events, DeadLetter("door.e1.outbox/2", "no JSON", b"\xff{")])
    found = {record.headers[0][1]: record for record in raw(bus, 5)}
    for event, name in zip(events, TOPICS, strict=True):
        record = found[event.id.encode()]
        assert record.topic == f"{bus.topic_prefix}.{name}"
        assert record.key == b"door"
        assert record.headers == [("id", event.id.encode()), ("schema", event.schema_.encode())]
        assert json.loads(record.value) == json.loads(event.to_json())
    dead = found[b"door.e1.outbox/2"]
    assert (dead.topic, dead.value) == (f"{bus.topic_prefix}.dead", b"\xff{")
    assert dead.headers == [("origin", b"door.e1.outbox/2"), ("reason", b"no JSON")]


def test_a_camera_stays_in_its_partition_and_order(
    publisher: KafkaPublisher, bus: BusSettings, make: Any
) -> None:
    cameras = ("door", "hall", "lab", "yard")
    events = [make.look(n, camera=cameras[n % 4]) for n in range(2000)]
    for first in range(0, 2000, 400):
        publisher.send(events[first : first + 400])
    found = raw(bus, 2000)
    for camera in cameras:
        mine = [record for record in found if record.key == camera.encode()]
        assert len({record.partition for record in mine}) == 1
        in_order = sorted(mine, key=lambda record: record.offset)
        ids = [json.loads(record.value)["id"] for record in in_order]
        assert ids == [event.id for event in events if event.camera == camera]
    assert len({record.partition for record in found}) == 2


def test_topics_are_made_as_the_settings_say(
    publisher: KafkaPublisher, bus: BusSettings, make: Any
) -> None:
    publisher.send([make.look()])
    with KafkaPublisher(bus.model_copy(update={"partitions": 5})) as later:
        later.send([make.look()])
    admin = KafkaAdminClient(bootstrap_servers=hosts(bus))
    made = admin.describe_topics([f"{bus.topic_prefix}.dead", f"{bus.topic_prefix}.tracks"])
    admin.close()
    assert [len(topic["partitions"]) for topic in made] == [2, 2]


def test_missing_topics(bus: BusSettings, make: Any) -> None:
    settings = bus.model_copy(update={"create_topics": False})
    name = bus.topic_prefix
    expected = f"no topics {name}.cameras, {name}.dead, {name}.observations, {name}.tracks: kafka:"
    with KafkaPublisher(settings) as publisher, pytest.raises(ServiceError, match=expected):
        publisher.send([make.look()])
    with pytest.raises(ServiceError, match=expected):
        KafkaFeed(settings)


@pytest.mark.parametrize("size", [950_000, 1_200_000])
def test_a_record_too_large_becomes_a_dead_letter(
    publisher: KafkaPublisher, bus: BusSettings, make: Any, size: int
) -> None:
    """Refused by the brokers, or by the client before it asks them: the others go their way."""
    publisher.open()
    limit(bus, "observations", 500_000)
    events = [make.look(n) for n in range(40)]
    large = make.look(99, reason="x" * size)
    publisher.send([*events[:25], large, *events[25:]])
    found = raw(bus, 41)
    looks = [json.loads(one.value)["id"] for one in found if not one.topic.endswith("dead")]
    assert set(looks) == {event.id for event in events}
    (letter,) = [one for one in found if one.topic.endswith("dead")]
    assert letter.key == large.id.encode()
    told = f"too large for Kafka: {len(large.to_json())} bytes"
    assert letter.headers[1][1].decode().startswith(told)
    assert large.to_json().encode().startswith(letter.value[:CUT_BYTES])
    assert publisher.oversized == 1


def limit(bus: BusSettings, name: str, size: int) -> None:
    """What brokers take in one batch of a topic."""
    from kafka.admin import ConfigResource, ConfigResourceType

    admin = KafkaAdminClient(bootstrap_servers=hosts(bus))
    resource = ConfigResource(
        ConfigResourceType.TOPIC, f"{bus.topic_prefix}.{name}", {"max.message.bytes": str(size)}
    )
    admin.alter_configs([resource])
    admin.close()


def test_a_frozen_broker_is_an_error_and_leaves_nothing_behind(
    bus: BusSettings, broker: Broker, make: Any
) -> None:
    """Tried again and again: each time an error in good time, and no thread more."""
    events = [make.look(n) for n in range(10)]
    with KafkaPublisher(bus.model_copy(update={"timeout_s": 1.0})) as publisher:
        publisher.send(events)
        before = threading.active_count()
        with broker.frozen():
            for _ in range(3):
                begun_s = time.monotonic()
                with pytest.raises(ServiceError, match="broker does not answer in time: kafka:"):
                    publisher.send(events)
                assert time.monotonic() - begun_s < 10
            assert threading.active_count() <= before
        publisher.send(events)
        assert threading.active_count() <= before
    assert len({record.headers[0][1] for record in raw(bus, 10)}) == 10
