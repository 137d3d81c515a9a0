"""What was sent is in Kafka, in order; what cannot be says so and blocks nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer

from pipeline.bus.kafka.consumer import RecordConsumer
from pipeline.bus.kafka.publisher import CUT_BYTES, LEAST_BYTES, LIMIT_S, KafkaPublisher
from pipeline.errors import RecordRefused, ServiceError
from pipeline.records import MOST, DeadLetter, Event
from pipeline.service_settings import BusSettings
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
        RecordConsumer(settings)


@pytest.mark.parametrize("size", [950_000, 1_200_000])
def test_a_record_too_large_becomes_a_dead_letter(
    publisher: KafkaPublisher, bus: BusSettings, make: Any, size: int
) -> None:
    """Refused by the brokers, or by the client before it asks them: the others go their way."""
    publisher.open()
    limit(bus, "observations", 500_000)
    events = [make.look(n) for n in range(40)]
    large = make.look(99).model_copy(update={"reason": "x" * size})
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


def sent_events(found: list[Any]) -> dict[str, list[str]]:
    """The ids of each camera's events in the order of their offsets, repeats and all."""
    told = sorted((one for one in found if not one.topic.endswith("dead")), key=lambda r: r.offset)
    ids: dict[str, list[str]] = {}
    for one in told:
        ids.setdefault(one.key.decode(), []).append(json.loads(one.value)["id"])
    return ids


def test_a_limit_below_a_batch_repeats_nothing_and_keeps_the_order(
    publisher: KafkaPublisher, bus: BusSettings, make: Any
) -> None:
    """Batches of several records are refused and go on in parts; one record is dead."""
    publisher.open()
    limit(bus, "observations", 5_000)
    events = [make.look(n, camera=("door", "hall")[n % 2]) for n in range(300)]
    large = make.look(999).model_copy(update={"reason": "x" * 9_000})
    publisher.send([*events[:120], large, *events[120:]])
    found = raw(bus, 301)
    wanted = {"door": [one.id for one in events[::2]], "hall": [one.id for one in events[1::2]]}
    assert sent_events(found) == wanted
    (letter,) = [one for one in found if one.topic.endswith("dead")]
    assert (letter.key, letter.value) == (large.id.encode(), large.to_json().encode())


@pytest.mark.parametrize(
    ("size", "kept", "note"),
    [
        (32_768, CUT_BYTES, " (the first 16384 of 100000 bytes)"),
        (9_000, 1_024, " (the first 1024 of 100000 bytes)"),
        (1_800, 0, " (without its 100000 bytes)"),
    ],
)
def test_a_dead_letter_goes_on_without_what_is_too_large(
    publisher: KafkaPublisher, bus: BusSettings, size: int, kept: int, note: str
) -> None:
    publisher.open()
    limit(bus, "dead", size)
    letters = [
        DeadLetter("o" * 512, "\U0001f600" * 1_000, b"z" * 100_000),
        DeadLetter("another", "not so large", b"{"),
    ]
    publisher.send(letters)
    found = {one.headers[0][1]: one for one in raw(bus, 2)}
    assert found[b"another"].value == b"{"
    cut = found[b"o" * 512]
    assert cut.value == b"z" * kept
    assert cut.headers[1][1].decode().endswith(note)
    assert publisher.cut == 1


def test_of_a_letter_that_no_broker_takes_it_is_said(
    publisher: KafkaPublisher, bus: BusSettings
) -> None:
    publisher.open()
    limit(bus, "dead", 300)
    with pytest.raises(RecordRefused, match="nothing of 1 dead letters: kafka:.*raise message.max"):
        publisher.send([DeadLetter("o" * 512, "why", b"{"), DeadLetter("a", "why", b"{")])
    assert [one.key for one in raw(bus, 1)] == [b"a"]


def test_a_size_that_was_refused_is_not_tried_at_once_again(
    bus: BusSettings, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal costs a connection; and a limit that was raised is noticed in time."""
    now_s = 0.0
    with KafkaPublisher(bus, lambda: now_s) as publisher:
        publisher.open()
        limit(bus, "dead", 20_000)
        connected = 0
        connect = publisher._connection.connect

        def counted(*given: Any, **options: Any) -> Any:
            nonlocal connected
            connected += 1
            return connect(*given, **options)

        monkeypatch.setattr(publisher._connection, "connect", counted)
        letters = [DeadLetter(f"o{n:02}", "why", b"z" * 60_000) for n in range(12)]
        publisher.send([*letters, make.look(1)])
        assert publisher.cut == 12
        assert connected <= 2 * 6, "for the topics and for the records, as often as it halves"
        limit(bus, "dead", 200_000)
        now_s += LIMIT_S + 1
        publisher.send([DeadLetter("late", "why", b"z" * 60_000)])
    found = {one.key: one.value for one in raw(bus, 14)}
    assert len(found) == 14
    assert {len(found[letter.origin.encode()]) for letter in letters} == {CUT_BYTES}
    assert found[b"late"] == b"z" * 60_000


@pytest.mark.slow
def test_the_least_limit_that_the_remedy_names_is_enough(
    data: Path, tmp_path: Path, make: Any
) -> None:
    """A broker of its own; the largest records there can be, and many small ones."""
    broker = Broker(data / "kafka/broker", tmp_path, f"message.max.bytes={LEAST_BYTES}")
    broker.start()
    try:
        settings = BusSettings(url=broker.url, partitions=2, timeout_s=5)
        largest = [
            make.look(10_000).model_copy(
                update={name: "\0" * most for name, most in {"model": 256, "reason": 1000}.items()}
            ),
            make.status(10_001, shed={f"{n:02}" + "\0" * 62: MOST for n in range(32)}),
            DeadLetter("\U0001f600" * 512, "\U0001f600" * 1_000, b"z" * 1_000_000),
        ]
        with KafkaPublisher(settings) as publisher:
            for first in range(0, 3_000, 500):
                publisher.send([make.look(n) for n in range(first, first + 500)])
            publisher.send(largest)
            assert (publisher.oversized, publisher.cut) == (0, 1)
        found = raw(settings, 3_003)
        assert len(found) == len({one.headers[0][1] for one in found}) == 3_003
        looks = sent_events(found)["door"]
        wanted = [make.look(n).id for n in range(3_000)]
        assert [one for one in looks if one in set(wanted)] == wanted
    finally:
        broker.crash()


@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
def test_a_topic_that_compresses(
    publisher: KafkaPublisher, bus: BusSettings, make: Any, name: str
) -> None:
    publisher.open()
    configure(bus, "observations", "compression.type", name)
    events = [make.look(n) for n in range(200)]
    publisher.send(events)
    got: list[Event] = []
    deadline = time.monotonic() + 20
    with RecordConsumer(bus) as feed:
        while len(got) < 200 and time.monotonic() < deadline:
            got += feed.poll(0.5).events
    assert got == events


def limit(bus: BusSettings, name: str, size: int) -> None:
    """What brokers take in one batch of a topic."""
    configure(bus, name, "max.message.bytes", str(size))


def configure(bus: BusSettings, name: str, key: str, value: str) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType

    admin = KafkaAdminClient(bootstrap_servers=hosts(bus))
    resource = ConfigResource(ConfigResourceType.TOPIC, f"{bus.topic_prefix}.{name}", {key: value})
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
