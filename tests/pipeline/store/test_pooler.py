"""Behind PgBouncer in transaction mode every transaction may meet another session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select, text

from pipeline.errors import ServiceError
from pipeline.records import Event
from pipeline.store.engine import open_store, use_store
from pipeline.store.registry import registered_cameras
from pipeline.store.schema import emotion_minutes, observations, tracks
from pipeline.store.writer import StoreWriter

pytestmark = [pytest.mark.needs("postgres"), pytest.mark.needs("pgbouncer")]
WRITERS, BATCHES = 4, 25


@pytest.fixture
def pooled_url(pooler: Any, postgres_url: str) -> str:
    url: str = pooler.url(postgres_url.rpartition("/")[2])
    return url


def test_four_writers_open_an_empty_database_and_share_it(pooled_url: str, make: Any) -> None:
    """They migrate at once; each writes its batches, and a part of the first one's again."""

    def write(number: int) -> int:
        with use_store(pooled_url) as engine:
            writer = StoreWriter(engine)
            return sum(
                writer.write(batch).observations
                for n in range(BATCHES)
                for batch in (some(number, n), some(0, n))
            )

    def some(number: int, batch: int) -> list[Event]:
        faces = [
            make.observation(n, n * 100, camera=f"door{number}")
            for n in range(batch * 20, batch * 20 + 20)
        ]
        return [*faces, make.track(batch, camera=f"door{number}", observations=batch)]

    with ThreadPoolExecutor(WRITERS) as pool:
        written = sum(pool.map(write, range(WRITERS)))
    assert written == WRITERS * BATCHES * 20
    with use_store(pooled_url) as engine, engine.connect() as connection:
        counts = connection.execute(
            select(func.count(), func.count(observations.c.camera.distinct())).select_from(
                observations
            )
        ).one()
        assert tuple(counts) == (written, WRITERS)
        assert (
            connection.execute(select(func.sum(emotion_minutes.c.n_happiness))).scalar() == written
        )
        assert set(connection.execute(select(tracks.c.seq)).scalars()) == {BATCHES - 1}


def test_readers_and_their_limits_stay_within_a_transaction(pooled_url: str, make: Any) -> None:
    """What a reader sets for itself never meets the writer that comes next."""
    open_store(pooled_url).dispose()
    reader, writer = open_store(pooled_url, read_only=True), open_store(pooled_url, 0.5)
    for n in range(30):
        with reader.connect() as connection:
            assert connection.execute(text("SHOW transaction_read_only")).scalar() == "on"
        with writer.connect() as connection:
            assert connection.execute(text("SHOW lock_timeout")).scalar() == "500ms"
        assert StoreWriter(writer).write([make.observation(n)]).observations == 1
    reader.dispose()
    writer.dispose()


def test_prepared_statements_are_there_for_whoever_asks(postgres_url: str, make: Any) -> None:
    """Straight to the server they save time; nobody gets them unasked."""
    for option, prepares in (("", False), ("?prepare_threshold=0", True)):
        with use_store(postgres_url + option) as engine:
            StoreWriter(engine).write([make.observation(1)])
            with engine.connect() as connection:
                count = select(func.count()).select_from(text("pg_prepared_statements"))
                for _ in range(8):
                    held = connection.execute(count).scalar()
        assert bool(held) is prepares


def test_a_database_that_the_pooler_does_not_find(pooler: Any) -> None:
    with pytest.raises(ServiceError, match="no such database or user|refuses the connection") as no:
        open_store(pooler.url("nowhere"))
    assert "start it" not in str(no.value)


def test_the_roster_behind_a_pooler(pooled_url: str) -> None:
    with use_store(pooled_url) as engine:
        assert registered_cameras(engine) == {}
