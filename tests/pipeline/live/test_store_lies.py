"""Whatever lies in the topics, `undercam store` goes on, restarts or not, on both databases."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kafka import KafkaProducer
from sqlalchemy import Engine, delete

from pipeline.bus.kafka.publisher import KafkaPublisher
from pipeline.errors import RecordRefused
from pipeline.live.store_consumer import StoreConsumer
from pipeline.messages import Message
from pipeline.records import DeadLetter
from pipeline.service_settings import BusSettings
from pipeline.store.engine import for_writing, open_store
from pipeline.store.schema import dead_letters
from pipeline.store.writer import StoreWriter
from tests.pipeline.broker import NEEDS_KAFKA
from tests.pipeline.bus.kafka.conftest import Reading, reading
from tests.pipeline.bus.kafka.wire import CODECS, Name, batch_of
from tests.pipeline.live.test_store_consumer import consuming, frames, letters, until
from tests.pipeline.store.conftest import DATABASES

__all__ = ["reading"]
anything = st.binary(max_size=200) | st.just(b"\0" * 50) | st.just(b"\xff" * 5_000)
headers = st.lists(
    st.tuples(st.sampled_from([b"origin", b"reason", b"\xff\0"]) | anything, st.none() | anything),
    max_size=4,
)
records = st.lists(
    st.tuples(st.none() | anything, st.none() | anything, headers), min_size=1, max_size=5
)
names = st.sampled_from(["observations", "tracks", "cameras", "dead"])


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/store.db"
    if request.param != "sqlite":
        url = request.getfixturevalue("postgres_url")
    engine = open_store(url)
    yield engine
    engine.dispose()


class Topic:
    """A dead topic that takes letters, or none."""

    def __init__(self, takes: bool) -> None:
        self.sent: list[Message] = []
        self._takes = takes

    def send(self, messages: Sequence[Message]) -> None:
        if not self._takes:
            raise RecordRefused("brokers take nothing of it", "here", "see to it")
        self.sent += messages


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lies=st.dictionaries(names, records),
    kind=st.sampled_from(list(CODECS.values())),
    takes=st.booleans(),
)
def test_any_bytes(
    reading: Reading, database: Engine, make: Any, lies: Any, kind: int, takes: bool
) -> None:
    with for_writing(database).begin() as connection:
        connection.execute(delete(dead_letters))
    look = make.look(1)
    lies = lies | {"observations": [*lies.get("observations", []), (b"", to_bytes(look), [])]}
    feed, consumer = reading({name: batch_of(told, 3, kind) for name, told in lies.items()})
    topic = Topic(takes)
    store = StoreConsumer(feed, topic, StoreWriter(database))  # type: ignore[arg-type]
    assert store.step() == sum(map(len, lies.values()))
    assert (store.fault, store.events) == (None, 1)
    assert {place.topic: told for place, told in consumer.committed.items()} == {
        f"undercam.{name}": 3 + len(told) for name, told in lies.items()
    }
    others = sum(len(told) for name, told in lies.items() if name != "dead") - 1
    assert store.dead == others
    assert len(topic.sent) == (others if takes else 0)
    assert bool(letters(database)) == bool("dead" in lies or (others and not takes))


def to_bytes(event: Any) -> bytes:
    told: bytes = event.to_json().encode()
    return told


LIES: list[tuple[bytes | None, bytes | None, list[tuple[bytes, bytes]]]] = [
    (b"k", b"{}", [(b"\xff\xfe\0", b"x")]),
    (b"\xff\0", b'{"schema": "' + b"s" * 900_000 + b'"}', []),
    (b"k", None, []),
    (b"", b"", [(b"", b"")]),
    (b"k", b"\0" * 100_000, [(b"schema", b"\xff" * 10_000)]),
    (b"k", b"[" * 100_000, []),
]
_chance = random.Random(6)
LIES += [
    (
        _chance.randbytes(_chance.randrange(40)),
        _chance.randbytes(_chance.randrange(400)),
        [
            (_chance.randbytes(_chance.randrange(1, 9)), _chance.randbytes(_chance.randrange(60)))
            for _ in range(_chance.randrange(3))
        ],
    )
    for _ in range(34)
]
"""What hands made, and what chance did."""


def lie(bus: BusSettings, name: str, told: Any, **options: Any) -> None:
    producer = KafkaProducer(bootstrap_servers=bus.url.removeprefix("kafka://"), **options)
    for key, value, headers in told:
        named: Any = [(Name.of(header), text) for header, text in headers]
        producer.send(f"{bus.topic_prefix}.{name}", value, key, named, partition=0)
    producer.flush(20)
    producer.close()


class TestAgainstABroker:
    pytestmark = NEEDS_KAFKA

    def test_lies_are_set_aside(self, bus: BusSettings, database: Engine, make: Any) -> None:
        with KafkaPublisher(bus) as publisher:
            publisher.send([make.look(0)])
            for name, kind in {"observations": None, "tracks": "zstd", "cameras": "lz4"}.items():
                lie(bus, name, LIES, compression_type=kind)
            long = [(b"origin", b"o" * 3_000), (b"reason", b"r" * 100_000)]
            lie(bus, "dead", [*LIES, (b"k", b"p", long), (b"k", b"q" * 900_000, long[:1])])
            publisher.send([make.look(1)])
        with consuming(bus, database) as consumer:
            until(
                consumer,
                lambda: frames(database) == [0, 1] and len(letters(database)) == 4 * len(LIES) + 1,
            )
            consumer.run(lambda: False, until_idle_s=1.0)
            assert (consumer.events, consumer.dead, consumer.fault) == (2, 3 * len(LIES), None)
        with consuming(bus, database) as again:
            again.run(lambda: False, until_idle_s=1.0)
            assert (again.events, again.dead) == (0, 0)

    def test_transactions(self, bus: BusSettings, database: Engine, make: Any) -> None:
        """Those that were aborted never were; their marks are no records."""
        with KafkaPublisher(bus) as publisher:
            publisher.open()
            producer = KafkaProducer(
                bootstrap_servers=bus.url.removeprefix("kafka://"), transactional_id=bus.group
            )
            producer.init_transactions()
            for n, end in enumerate([producer.abort_transaction, producer.commit_transaction] * 2):
                producer.begin_transaction()
                place = f"{bus.topic_prefix}.observations"
                producer.send(place, to_bytes(make.look(n)), b"door", partition=0).get(10)
                end()
            producer.close()
            publisher.send([make.look(9)])
        with consuming(bus, database) as consumer:
            until(consumer, lambda: frames(database) == [1, 3, 9])
            consumer.run(lambda: False, until_idle_s=1.0)
            assert (consumer.events, consumer.dead) == (3, 0)

    def test_a_dead_topic_that_takes_nothing(
        self, bus: BusSettings, database: Engine, make: Any
    ) -> None:
        from tests.pipeline.bus.kafka.test_publisher import limit

        with KafkaPublisher(bus) as publisher:
            publisher.send([make.look(0)])
            lie(bus, "observations", LIES)
            publisher.send([make.look(1)])
        limit(bus, "dead", 100)
        with consuming(bus, database) as consumer:
            until(
                consumer, lambda: frames(database) == [0, 1] and len(letters(database)) == len(LIES)
            )
        assert all(
            one[0].startswith(f"{bus.topic_prefix}.observations/0/") for one in letters(database)
        )


def test_letters_name_their_origin(reading: Reading, database: Engine) -> None:
    told = [
        (None, b"payload", [(b"origin", b"o\0" * 3_000), (b"reason", None), (b"reason", b"\0")])
    ]
    feed, _ = reading({"dead": batch_of(told)})
    topic = Topic(False)
    store = StoreConsumer(feed, topic, StoreWriter(database))  # type: ignore[arg-type]
    assert store.step() == 1
    ((origin, reason, payload),) = letters(database)
    assert DeadLetter("o\0" * 3_000, "", b"").origin.replace("\0", "\ufffd") == origin
    assert (reason, payload) == ("\ufffd", b"payload")
