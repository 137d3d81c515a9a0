"""From outbox to row through a real broker: nothing lost, nothing twice, whatever fails."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from sqlalchemy import Engine, select, text

from pipeline.bus.kafka.consumer import RecordConsumer
from pipeline.bus.kafka.publisher import KafkaPublisher
from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.config import Settings
from pipeline.errors import ConfigError, ServiceError
from pipeline.live.store_consumer import StoreConsumer, StoreService
from pipeline.records import Event
from pipeline.service_settings import BusSettings
from pipeline.store.engine import for_writing, open_store
from pipeline.store.schema import dead_letters, gaps, observations, tracks
from pipeline.store.writer import StoreWriter
from tests.pipeline.broker import NEEDS_KAFKA, Broker
from tests.pipeline.bus.releases import old_lines, release_before, write_as_before

pytestmark = NEEDS_KAFKA


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(f"sqlite:///{tmp_path}/store.db", busy_timeout_s=0.1)
    yield engine
    engine.dispose()


@pytest.fixture
def publisher(bus: BusSettings) -> Iterator[KafkaPublisher]:
    with KafkaPublisher(bus) as made:
        yield made


@contextmanager
def consuming(bus: BusSettings, database: Engine, batch_rows: int = 50) -> Iterator[StoreConsumer]:
    with RecordConsumer(bus, batch_rows) as feed, KafkaPublisher(bus) as publisher:
        writer = StoreWriter(database, batch_rows=batch_rows)
        yield StoreConsumer(feed, publisher, writer, chance=lambda: 0.0)


def until(consumer: StoreConsumer, done: Callable[[], bool], most_s: float = 40) -> None:
    """Step until it is so."""
    deadline = time.monotonic() + most_s
    while not done():
        assert time.monotonic() < deadline, consumer.fault
        consumer.step()


def frames(database: Engine) -> list[int]:
    with database.connect() as connection:
        return sorted(connection.execute(select(observations.c.frame)).scalars())


def letters(database: Engine) -> list[tuple[str, str, bytes]]:
    told = dead_letters.c
    query = select(told.origin, told.reason, told.payload).order_by(told.origin)
    with database.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]  # type: ignore[misc]


def looks(make: Any, count: int, first: int = 0) -> list[Event]:
    cameras = ("door", "hall", "lab")
    return [make.look(n, 1_000 + n, camera=cameras[n % 3]) for n in range(first, first + count)]


def test_what_is_sent_twice_and_read_again_is_stored_once(
    bus: BusSettings, publisher: KafkaPublisher, database: Engine, make: Any
) -> None:
    events = [*looks(make, 300), make.track(1), make.track(2, "end"), make.status(), make.loss()]
    publisher.send(events)
    publisher.send(events[::-1])
    for _ in range(2):
        with consuming(bus, database) as consumer:
            consumer.run(lambda: False, until_idle_s=1.0)
    assert consumer.events == 0, "the second one had nothing left to read"
    assert frames(database) == list(range(300))
    with database.connect() as connection:
        assert connection.execute(select(tracks.c.phase)).scalars().all() == ["end"]
        assert connection.execute(select(gaps.c.events)).scalars().all() == [10]


def test_what_no_one_can_read_goes_to_the_dead_topic_and_the_table(
    bus: BusSettings, publisher: KafkaPublisher, database: Engine, make: Any
) -> None:
    publisher.send(looks(make, 3))
    foreign = KafkaProducer(bootstrap_servers=bus.url.removeprefix("kafka://"))
    for payload in (b"{", b'{"schema": "undercam.face_observed/2"}', None):
        foreign.send(f"{bus.topic_prefix}.observations", payload, key=b"x", partition=0)
    foreign.send(f"{bus.topic_prefix}.dead", b"by someone else", key=b"x", partition=0)
    foreign.flush(10)
    foreign.close()
    publisher.send(looks(make, 3, first=3))
    with consuming(bus, database) as consumer:
        until(consumer, lambda: len(letters(database)) == 4)
        consumer.run(lambda: False, until_idle_s=1.0)
        assert (consumer.dead, consumer.events) == (3, 6)
    with consuming(bus, database) as again:
        again.run(lambda: False, until_idle_s=1.0)
        assert (again.dead, again.events) == (0, 0)
    assert frames(database) == list(range(6))
    (origin, reason, payload), *others = letters(database)
    assert (origin, reason) == (f"{bus.topic_prefix}.dead/0/0", "not said")
    assert payload == b"by someone else"
    assert [one[2] for one in others] == [b"{", b'{"schema": "undercam.face_observed/2"}', b""]
    assert all(one[0].startswith(f"{bus.topic_prefix}.observations/0/") for one in others)
    assert "face_observed/2" in others[1][1]


def test_a_topic_with_records_of_two_releases_becomes_the_right_rows(
    bus: BusSettings, publisher: KafkaPublisher, database: Engine, tmp_path: Path, make: Any
) -> None:
    """An outbox of the release before goes through unread, beside records of this one."""
    write_as_before(tmp_path / "outbox/lobby.e42.outbox", old_lines())
    with Relay(tmp_path / "outbox", publisher.send) as relay:
        while relay.step():
            pass
    publisher.send([make.look(1), make.look(2)])
    with consuming(bus, database) as consumer:
        consumer.run(lambda: False, until_idle_s=1.0)
        assert (consumer.dead, consumer.events) == (0, 8)
    assert frames(database) == [1, 2, 1234, 1235, 1235]
    with database.connect() as connection:
        models = connection.execute(select(observations.c.model).distinct()).scalars().all()
    assert models == ["resnet18-w32"]


@pytest.mark.parametrize("upgraded", ["in time", "late"])
def test_an_old_store_loses_nothing_of_a_newer_writer(
    bus: BusSettings,
    publisher: KafkaPublisher,
    database: Engine,
    make: Any,
    upgraded: str,
) -> None:
    """The new store finds the dead letters in the dead topic, or in the table where an old one has
    put them."""
    publisher.send([*looks(make, 5), make.track(1), make.status()])
    with release_before(), consuming(bus, database) as old:
        until(old, lambda: old.dead == 5 and old.events == 2)
        if upgraded == "late":
            until(old, lambda: len(letters(database)) == 5)
    assert frames(database) == []
    with consuming(bus, database) as new:
        until(new, lambda: frames(database) == list(range(5)) and not letters(database))
        assert new.dead == 0
        assert new.replayed == 5 or upgraded == "in time"


@pytest.mark.needs("postgres")
def test_what_the_database_never_takes_is_found_and_stops_nobody(
    bus: BusSettings, publisher: KafkaPublisher, postgres_url: str, make: Any
) -> None:
    """PostgreSQL holds no NUL in a key."""
    events = looks(make, 40)
    events[17] = make.look(17).model_copy(update={"id": "obs:\0"})
    publisher.send(events)
    engine = open_store(postgres_url)
    with consuming(bus, engine) as consumer:
        until(consumer, lambda: len(letters(engine)) == 1)
    assert frames(engine) == [n for n in range(40) if n != 17]
    ((origin, reason, payload),) = letters(engine)
    engine.dispose()
    assert origin == "obs:\ufffd"
    assert "database refuses a value" in reason
    assert payload == events[17].to_json().encode()


def test_database_away_nothing_is_committed_and_the_place_is_kept(
    bus: BusSettings, publisher: KafkaPublisher, database: Engine, tmp_path: Path, make: Any
) -> None:
    publisher.send(looks(make, 120))
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    with closing(other), consuming(bus, database) as consumer:
        other.execute("BEGIN IMMEDIATE")
        until(consumer, lambda: consumer.fault is not None)
        assert "database is locked: " in str(consumer.fault)
        for _ in range(8):
            assert consumer.step() == 0
        assert consumer._feed.is_member
        with RecordConsumer(bus) as late:
            # A rebalance while it waits: what it holds is not committed and comes to both.
            for _ in range(4):
                consumer.step()
                late.poll(0.5)
        other.execute("ROLLBACK")
        until(consumer, lambda: frames(database) == list(range(120)))
        assert consumer.fault is None


@pytest.mark.slow
def test_partitions_that_come_later_are_read(
    bus: BusSettings, publisher: KafkaPublisher, database: Engine, make: Any
) -> None:
    """As those of a topic that was being created when the store joined its group."""
    topic = f"{bus.topic_prefix}.observations"
    publisher.send(looks(make, 5))
    with consuming(bus, database) as consumer:
        until(consumer, lambda: frames(database) == list(range(5)))
        with closing(KafkaAdminClient(bootstrap_servers=bus.url.removeprefix("kafka://"))) as admin:
            admin.create_partitions({topic: 3})
        time.sleep(0.5)
        with closing(KafkaProducer(bootstrap_servers=bus.url.removeprefix("kafka://"))) as producer:
            producer.send(topic, b"no record", partition=2).get(20)
        until(consumer, lambda: len(letters(database)) == 1)


class Crash(Exception):
    """The process dies."""


def test_crash_between_rows_and_offsets(
    bus: BusSettings,
    publisher: KafkaPublisher,
    database: Engine,
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publisher.send(looks(make, 100))

    def die(_: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch, consuming(bus, database) as consumer:
        patch.setattr(RecordConsumer, "commit", die)
        with pytest.raises(Crash):
            consumer.run(lambda: False)
    assert len(frames(database)) == 50
    with consuming(bus, database) as again:
        again.run(lambda: False, until_idle_s=1.0)
        assert again.events == 100, "all of it was read again"
    assert frames(database) == list(range(100))


def test_two_share_and_one_takes_over(
    bus: BusSettings, publisher: KafkaPublisher, database: Engine, make: Any
) -> None:
    with consuming(bus, database) as first:
        with consuming(bus, database) as second:
            sent = 0
            deadline = time.monotonic() + 30
            while not (first.events and second.events):
                assert time.monotonic() < deadline
                publisher.send(looks(make, 60, first=sent))
                sent += 60
                first.step()
                second.step()
        publisher.send(looks(make, 60, first=sent))
        until(first, lambda: frames(database) == list(range(sent + 60)))


def test_refused_table_is_no_fault_of_the_record(
    bus: BusSettings, publisher: KafkaPublisher, database: Engine, make: Any
) -> None:
    """A table that is away is trouble, not a reason to call records dead."""

    def rename(old: str, new: str) -> None:
        with for_writing(database).begin() as connection:
            connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    publisher.send(looks(make, 10))
    rename("observations", "away")
    with consuming(bus, database) as consumer:
        until(consumer, lambda: consumer.fault is not None)
        rename("away", "observations")
        until(consumer, lambda: frames(database) == list(range(10)))
        assert consumer.dead == 0


@pytest.mark.slow
def test_frozen_broker_in_the_middle(
    bus: BusSettings, broker: Broker, database: Engine, tmp_path: Path, make: Any
) -> None:
    quick = bus.model_copy(update={"timeout_s": 1.0})
    with through(quick, database, tmp_path) as (outbox, relay, consumer):
        outbox.append(looks(make, 100))
        until(consumer, lambda: relay.step() >= 0 and consumer.events > 20)
        with broker.frozen():
            outbox.append(looks(make, 100, first=100))
            until(consumer, lambda: relay.step() >= 0 and relay.fault is not None)
            assert "broker does not answer in time" in str(relay.fault)
        outbox.append(looks(make, 100, first=200))
        until(consumer, lambda: relay.step() >= 0 and frames(database) == list(range(300)), 60)
        assert relay.waiting == 0


@pytest.mark.slow
def test_broker_crashes_and_comes_back(
    bus: BusSettings, broker: Broker, database: Engine, tmp_path: Path, make: Any
) -> None:
    quick = bus.model_copy(update={"timeout_s": 2.0})
    with through(quick, database, tmp_path) as (outbox, relay, consumer):
        outbox.append(looks(make, 500))
        until(consumer, lambda: relay.step() >= 0 and consumer.events > 100)
        broker.crash()
        try:
            outbox.append(looks(make, 500, first=500))
            until(consumer, lambda: relay.step() >= 0 and consumer.fault is not None)
            assert "broker cannot be reached: kafka://127" in str(relay.fault)
            assert "broker cannot be reached: kafka://127" in str(consumer.fault)
            assert relay.waiting >= 500
            with pytest.raises(ServiceError, match="broker cannot be reached"):
                consumer.run(lambda: False, until_idle_s=1.0)
        finally:
            broker.start()
        until(consumer, lambda: relay.step() >= 0 and frames(database) == list(range(1000)), 90)
        assert relay.waiting == 0


@contextmanager
def through(
    bus: BusSettings, database: Engine, folder: Path
) -> Iterator[tuple[Outbox, Relay, StoreConsumer]]:
    """The whole way, in one process."""
    with (
        Outbox(folder / "outbox", "door", "e1") as outbox,
        KafkaPublisher(bus) as publisher,
        Relay(folder / "outbox", publisher.send, batch_rows=40, chance=lambda: 0.0) as relay,
        consuming(bus, database) as consumer,
    ):
        yield outbox, relay, consumer


def test_the_thread_survives_what_no_one_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it was, without credentials, and goes on when it is over."""
    opened: list[Exception] = [
        KeyError("rtsp://ann:secret@10.0.0.7/live"),
        ConfigError("secret not set", "env:STORE", "set it"),
    ]

    @contextmanager
    def open_consumer(settings: Settings) -> Iterator[Any]:
        if opened:
            raise opened.pop(0)
        yield Idle()

    class Idle:
        fault = None

        def run(self, stop: Callable[[], bool], until_idle_s: float = 0.0) -> None:
            while not until_idle_s and not stop():
                time.sleep(0.01)

    monkeypatch.setattr("pipeline.live.store_consumer.open_consumer", open_consumer)
    monkeypatch.setattr("pipeline.live.store_consumer.RETRY_S", 0.3)
    faults: list[str] = []
    with StoreService(Settings()) as service:
        deadline = time.monotonic() + 20
        while not (faults and not service.fault and not opened):
            assert time.monotonic() < deadline, faults
            faults += [service.fault] if service.fault not in (*faults, "") else []
            time.sleep(0.01)
    assert faults[0].startswith("unexpected error: KeyError")
    assert "secret@" not in faults[0]
    assert faults[1].startswith("secret not set")
