"""No byte of what was erased is left in the database's files, or it is said what keeps it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text

from pipeline.records import DeadLetter
from pipeline.store import free_space
from pipeline.store.engine import for_writing, open_store
from pipeline.store.erasures import Erasure, erase
from pipeline.store.schema import observations
from pipeline.store.writer import StoreWriter

CAMERAS = ("door", "hall")
Files = Callable[[Engine], bytes]


def files_of_sqlite(engine: Engine) -> bytes:
    """The file, its log and the log's index."""
    folder = Path(str(engine.url.database)).parent
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def files_of_postgres(engine: Engine) -> bytes:
    """Every file of the database, after all of it was written to disk; not the server's log."""
    query = (
        "SELECT current_setting('data_directory') || '/base/' || oid FROM pg_database "
        "WHERE datname = current_database()"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CHECKPOINT"))
        folder = Path(connection.execute(text(query)).scalar_one())
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


@pytest.fixture(
    params=[
        ("sqlite_url", files_of_sqlite),
        pytest.param(("postgres_url", files_of_postgres), marks=pytest.mark.needs("postgres")),
    ],
    ids=["sqlite", "postgresql"],
)
def store(request: pytest.FixtureRequest) -> Iterator[tuple[Engine, Files]]:
    url, files = request.param
    engine = open_store(request.getfixturevalue(url), busy_timeout_s=0.5)
    yield engine, files
    engine.dispose()


def write(engine: Engine, make: Any, faces: int) -> None:
    writer = StoreWriter(engine)
    for n in range(0, faces, 100):
        seen = [make.observation(n + m, 1_000 + n + m, c) for m in range(100) for c in CAMERAS]
        # A track's row is written again and again: its earlier versions lie in free space.
        ended_ms = 10 ** n.bit_length()
        writer.write([*seen, *(make.track(n, camera=c, ended_ms=ended_ms) for c in CAMERAS)])
    letters = [(c, make.observation(camera=c).to_json().encode()) for c in CAMERAS]
    writer.write_dead_letters([DeadLetter(origin, "why", body) for origin, body in letters])


def test_no_byte_is_left(store: tuple[Engine, Files], make: Any) -> None:
    engine, files = store
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":  # some builds have it on
            connection.exec_driver_sql("PRAGMA secure_delete=OFF")
    write(engine, make, 1_000)
    with engine.connect() as reader:  # somebody looks at it
        reader.execute(select(func.count()).select_from(observations)).scalar_one()
    assert b"obs:door:" in files(engine)
    counts = erase(engine, Erasure("door"))
    assert (counts.observations, counts.tracks, counts.dead_letters) == (1_000, 1, 1)
    assert counts.remains == ""
    left = files(engine)
    assert not [one for one in (b"obs:door:", b"trk:door:", b'"door"') if one in left]
    assert b"obs:hall:" in left
    assert b"trk:hall:" in left


def test_a_reader_that_keeps_bytes_is_said(
    store: tuple[Engine, Files], make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = store
    monkeypatch.setattr(free_space, "CHECKPOINT_S", 0.2)
    write(engine, make, 100)
    said = {
        "sqlite": "a reader keeps the database's log: end it, and erase again",
        "postgresql": "database is locked: ",
    }[engine.dialect.name]
    with engine.connect() as reader:
        reader.execute(select(observations.c.id)).fetchone()
        assert erase(engine, Erasure("door")).remains.startswith(said)
    with engine.connect() as connection:
        assert set(connection.execute(select(observations.c.camera)).scalars()) == {"hall"}
    assert erase(engine, Erasure("door")).remains == ""


@pytest.mark.needs("postgres")
def test_a_transaction_that_still_sees_what_was_erased_is_said(
    postgres_url: str, make: Any
) -> None:
    """It locks nothing, such as a dump of another table; PostgreSQL keeps the rows for it."""
    engine = open_store(postgres_url)
    write(engine, make, 100)
    one_moment = engine.execution_options(isolation_level="REPEATABLE READ")
    with one_moment.connect() as dump:
        dump.execute(text("SELECT 1 FROM cameras"))
        assert "an earlier transaction still sees" in erase(engine, Erasure("door")).remains
        assert b"obs:door:" in files_of_postgres(engine)
    assert erase(engine, Erasure("door")).remains == ""
    assert b"obs:door:" not in files_of_postgres(engine)
    engine.dispose()


@pytest.mark.needs("postgres")
def test_tables_of_somebody_else_are_said(server: Any, postgres_url: str, make: Any) -> None:
    """Who owns a table alone may write it anew; PostgreSQL's VACUUM would only warn."""
    engine = open_store(postgres_url)
    write(engine, make, 100)
    with for_writing(engine).begin() as connection:
        connection.execute(text("CREATE ROLE writes LOGIN"))
        connection.execute(text("GRANT ALL ON ALL TABLES IN SCHEMA public TO writes"))
    other = open_store(postgres_url.replace("postgres@", "writes@"))
    counts = erase(other, Erasure("door"))
    assert counts.observations == 100
    assert counts.remains.startswith("permission denied: ")
    for one in (other, engine):
        one.dispose()
