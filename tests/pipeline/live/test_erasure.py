"""Erased for ever, end to end: through a real broker, and by relays that run meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from pipeline.bus.kafka.consumer import RecordConsumer
from pipeline.bus.kafka.publisher import KafkaPublisher
from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.config import Settings
from pipeline.erasure import Erasure
from pipeline.live.relay_service import RelayService
from pipeline.live.store_consumer import StoreConsumer
from pipeline.messages import EncodedRecord
from pipeline.records import DeadLetter, Event
from pipeline.service_settings import BusSettings
from pipeline.store.engine import open_store
from pipeline.store.erasures import erase
from pipeline.store.schema import COUNTS, dead_letters, emotion_minutes, observations, tracks
from pipeline.store.writer import StoreWriter
from tests.pipeline.store.test_free_space import files_of_postgres, files_of_sqlite

CAMERAS = ("door", "hall")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/rows/store.db"
    engine = open_store(
        url if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    )
    yield engine
    engine.dispose()


def events_of(make: Any, camera: str) -> list[Event]:
    seen = [make.observation(n, 1_000 * n, camera, track=1 + n % 3) for n in range(150)]
    known = [make.track(1, camera=camera, track=n, started_ms=1_000) for n in (1, 2, 3)]
    return [*seen, *known, make.status(camera=camera), make.loss(camera=camera)]


def rows_of(engine: Engine, table: Any, camera: str) -> int:
    query = select(func.count()).select_from(table).where(table.c.camera == camera)
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def count_minutes(engine: Engine) -> dict[str, int]:
    """Observations of each camera by the roll-up."""
    rows = emotion_minutes.c
    total = func.sum(sum((rows[name] for name in COUNTS[1:]), rows[COUNTS[0]]))
    with engine.connect() as connection:
        found = connection.execute(select(rows.camera, total).group_by(rows.camera)).all()
    return {camera: int(seen) for camera, seen in found}


def read_all(bus: BusSettings, engine: Engine) -> StoreConsumer:
    with RecordConsumer(bus) as feed, KafkaPublisher(bus) as publisher:
        consumer = StoreConsumer(feed, publisher, StoreWriter(engine))
        consumer.run(lambda: False, until_idle_s=1.5)
        return consumer


def drain(folder: Path, bus: BusSettings, erasures: list[Erasure]) -> int:
    with KafkaPublisher(bus) as publisher, Relay(folder, publisher.send) as relay:
        relay.apply_erasures(erasures)
        while relay.step():
            pass
        assert relay.fault is None
        return relay.erased


@pytest.mark.needs("kafka")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_kafka_brings_nothing_back(
    bus: BusSettings, database: Engine, tmp_path: Path, make: Any
) -> None:
    for camera in CAMERAS:
        with Outbox(tmp_path / "outbox", camera, "e1") as outbox:
            outbox.append(events_of(make, camera))
    old_outbox = (tmp_path / "outbox/door.e1.outbox").read_bytes()
    letters = [DeadLetter(c, "refused", events_of(make, c)[0].to_json().encode()) for c in CAMERAS]
    body = events_of(make, "door")[0].to_json().replace("face_observed/2", "face_observed/9")
    newer = EncodedRecord("newer", "undercam.face_observed/9", "door", body.encode(), "newer")
    with KafkaPublisher(bus) as publisher:
        publisher.send([*letters, newer])
    drain(tmp_path / "outbox", bus, [])
    assert read_all(bus, database).dead == 1
    assert count_minutes(database) == {"door": 150, "hall": 150}

    counts = erase(database, Erasure("door"))
    assert (counts.observations, counts.tracks, counts.dead_letters) == (150, 3, 2)
    check(database, tmp_path / "outbox")

    # A new group reads every topic from offset 0.
    consumer = read_all(bus.model_copy(update={"group": f"{bus.group}-again"}), database)
    # Events, a dead letter, and a record of a newer release with the dead letter it has become; it
    # does not become another one.
    assert (consumer.erased, consumer.dead) == (153 + 1 + 2, 0)
    check(database, tmp_path / "outbox")

    # The disk of a machine that was away is back: one relay knows the erasure, another does not.
    for erasures in ([Erasure("door", before_ms=10**12)], []):
        (tmp_path / "outbox/door.e1.outbox").write_bytes(old_outbox)
        assert drain(tmp_path / "outbox", bus, erasures) == (153 if erasures else 0)
        read_all(bus, database)
        check(database, tmp_path / "outbox")


def check(engine: Engine, outboxes: Path) -> None:
    """No row and no byte of door is left, all of hall is, and the roll-ups add up."""
    assert rows_of(engine, observations, "door") == rows_of(engine, tracks, "door") == 0
    assert rows_of(engine, observations, "hall") == 150
    assert rows_of(engine, tracks, "hall") == 3
    assert count_minutes(engine) == {"hall": 150}
    with engine.connect() as connection:
        assert connection.execute(select(dead_letters.c.origin)).scalars().all() == ["hall"]
    files = {"sqlite": files_of_sqlite, "postgresql": files_of_postgres}[engine.dialect.name]
    left = files(engine) + b"".join(path.read_bytes() for path in outboxes.iterdir())
    assert b"obs:hall:" in left
    assert not [name for name in (b"obs:door:", b"trk:door:") if name in left]


def until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_relay_at_work_deletes_at_once_what_its_receiver_does_not_take(
    settings: Settings, make: Any
) -> None:
    nowhere = settings.store.model_copy(update={"url": "sqlite:////proc/nowhere/rows.db"})
    placed = settings.model_copy(update={"store": nowhere})
    folder = Path(placed.outbox.folder)
    with Outbox(folder, "door", "e1") as outbox, RelayService(placed) as relay:
        outbox.append(events_of(make, "door"))
        until(lambda: relay.report.waiting and relay.report.fault)
        relay.apply_erasures([Erasure("door", before_ms=10**12)])
        until(lambda: relay.report.erased == 153)
        assert relay.report.erasures == 1
        assert not [p for p in folder.iterdir() if b"obs:door" in p.read_bytes()]
        sample = relay.metrics.registry.get_sample_value
        until(lambda: sample("undercam_outbox_erased_total") == 153)


def test_what_only_the_store_knows_to_be_erased_is_counted_too(
    settings: Settings, tmp_path: Path, make: Any
) -> None:
    url = f"sqlite:///{tmp_path}/rows.db"
    placed = settings.model_copy(update={"store": settings.store.model_copy(update={"url": url})})
    engine = open_store(url)
    erase(engine, Erasure("door", before_ms=10**12))
    with Outbox(placed.outbox.folder, "door", "e1") as outbox, RelayService(placed) as relay:
        outbox.append(events_of(make, "door"))
        until(lambda: relay.report.sent == 155)
        assert rows_of(engine, observations, "door") == 0
        sample = relay.metrics.registry.get_sample_value
        until(lambda: sample("undercam_outbox_erased_total") == 153)
    engine.dispose()
