"""Opening a database: made where missing, migrated once, and each way to fail in one sentence."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from pipeline.errors import ConfigError, ServiceError
from pipeline.store import engine as engine_module
from pipeline.store.engine import for_writing, open_store
from pipeline.store.schema import metadata

NOBODY = "postgresql://me:s3cret@127.0.0.1:1/undercam"
PIPES: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
MIGRATIONS = Path(engine_module.__file__).with_name("migrations")
HEAD = ScriptDirectory(str(MIGRATIONS)).get_current_head()
LATER = f"""
import sqlalchemy as sa
from alembic import op

revision = "later"
down_revision = "{HEAD}"


def upgrade():
    op.create_table("later", sa.Column("n", sa.Integer()))
"""


def everything_said(caught: pytest.ExceptionInfo[Exception]) -> str:
    """What a log would show: the error, its causes and all their lines."""
    return "".join(traceback.format_exception(caught.value))


def test_migrations_give_the_schema(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_open_again_finds_the_rows(url: str) -> None:
    first = open_store(url)
    with for_writing(first).begin() as connection:
        connection.execute(text("INSERT INTO cameras (camera, stored_ms) VALUES ('door', 1)"))
    first.dispose()
    again = open_store(url)
    with again.connect() as connection:
        assert connection.execute(text("SELECT camera FROM cameras")).scalars().all() == ["door"]
    again.dispose()


def test_sqlite_outlives_a_power_cut(sqlite_url: str) -> None:
    engine = open_store(sqlite_url, busy_timeout_s=1.5)
    with engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "busy_timeout")
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]
    engine.dispose()
    assert values == ["wal", 2, 1500]


OPEN = """
import sys
from pipeline.store.engine import open_store
print("ready", flush=True)
sys.stdin.readline()
open_store(sys.argv[1]).dispose()
"""


def test_processes_open_an_empty_database_at_once(url: str) -> None:
    start = [sys.executable, "-c", OPEN, url]
    opened: list[Any] = [subprocess.Popen(start, text=True, **PIPES) for _ in range(3)]
    assert [process.stdout.readline() for process in opened] == ["ready\n"] * 3
    for process in opened:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[1] for process in opened]
    assert [process.returncode for process in opened] == [0] * 3, said


def test_threads_open_empty_databases_at_once(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{n % 3}.db" for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        for engine in pool.map(open_store, urls):
            assert set(metadata.tables) < set(inspect(engine).get_table_names())
            engine.dispose()


def with_later(folder: Path) -> ScriptDirectory:
    shutil.copytree(MIGRATIONS, folder / "migrations")
    (folder / "migrations/versions/later.py").write_text(LATER)
    return ScriptDirectory(str(folder / "migrations"))


def test_old_schema_is_migrated_and_new_one_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(url).dispose()
    with monkeypatch.context() as later:
        newer = with_later(tmp_path)
        later.setattr(engine_module, "_scripts", lambda: newer)
        with pytest.raises(ServiceError, match=rf"schema {HEAD} is older .* migrates the database"):
            open_store(url, read_only=True)
        migrated = open_store(url)
        assert inspect(migrated).has_table("later")
        migrated.dispose()
    for read_only in (False, True):
        with pytest.raises(ServiceError, match=r"schema later is newer .* upgrade undercam"):
            open_store(url, read_only=read_only)


def test_failed_migration_leaves_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = with_later(tmp_path)
    script = tmp_path / "migrations/versions/later.py"
    script.write_text(LATER + '    op.execute("SELECT nonsense")\n')
    with monkeypatch.context() as later:
        later.setattr(engine_module, "_scripts", lambda: broken)
        with pytest.raises(ServiceError, match=r"database refuses.*nonsense"):
            open_store(url)
    with pytest.raises(ServiceError, match="no tables yet"):
        open_store(url, read_only=True)


def test_read_only_makes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"no such database: .* `undercam store`"):
        open_store(sqlite_url, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_read_only_needs_tables(url: str, tmp_path: Path) -> None:
    if url.startswith("sqlite"):
        (tmp_path / "state").mkdir()
        (tmp_path / "state/undercam.db").touch()
    with pytest.raises(ServiceError, match=r"no tables yet: .* `undercam store`"):
        open_store(url, read_only=True)


def test_read_only_cannot_write(url: str) -> None:
    open_store(url).dispose()
    reader = open_store(url, read_only=True)
    with pytest.raises(DBAPIError, match=r"read-?only"), reader.begin() as connection:
        connection.execute(text("INSERT INTO cameras (camera, stored_ms) VALUES ('door', 1)"))
    reader.dispose()


def test_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Nobody would open this, " * 100)
    with pytest.raises(ServiceError, match=r"not a SQLite database: .*notes\.txt: give another"):
        open_store(f"sqlite:///{file}")
    assert file.read_text().startswith("Nobody")


def test_damaged_database(sqlite_url: str, tmp_path: Path) -> None:
    open_store(sqlite_url).dispose()
    file = tmp_path / "state/undercam.db"
    with file.open("r+b") as data:
        data.seek(100)
        data.write(b"\xff" * 4000)
    with pytest.raises(ServiceError, match="database is damaged"):
        open_store(sqlite_url)


def test_locked_sqlite(sqlite_url: str, tmp_path: Path) -> None:
    open_store(sqlite_url).dispose()
    with sqlite3.connect(tmp_path / "state/undercam.db", isolation_level=None) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("DELETE FROM cameras")
        with pytest.raises(ServiceError, match="database is locked"):
            open_store(sqlite_url, busy_timeout_s=0.1)
    other.close()


def test_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match=r"cannot create the folder: .*file"):
        open_store(f"sqlite:///{tmp_path}/file/undercam.db")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("nonsense s3cret", "not a database URL"),
        ("s3cret://me@host/db", "not a database URL"),
        ("sqlite://", "in-memory database cannot be shared"),
        ("sqlite:///:memory:", "in-memory database cannot be shared"),
        ("mysql://me:s3cret@host/db", "unsupported database: mysql"),
        ("postgresql://me:s3cret@host:port/db", "not a database URL"),
        ("postgresql://me:s3@cret@host/db", "write @ in a password as %40"),
        ("sqlite://host/file.db", "not a database URL"),
        ("sqlite:////tmp/a\0b.db", "not a database URL"),
        ("sqlite:///file.db?timeout=soon", "option .*: store.url: timeout is a number of seconds"),
        ("sqlite:///file.db?timeout=nan", "option .*: store.url: timeout is a number of seconds"),
        ("sqlite:///file.db?timeout=1&timeout=2", "timeout is a number of seconds"),
        ("sqlite:///file.db?mode=ro&uri=true", "option .*: store.url: .* without `mode`: leave it"),
        ("sqlite:///file.db?check_same_thread=maybe", "without `check_same_thread`: leave it out"),
        (NOBODY + "?foo=1", 'option cannot be used: store.url: invalid connection option "foo"$'),
        (NOBODY + "?autocommit=1", 'invalid connection option "autocommit"$'),
        (NOBODY + "?sslmode=nonsense", 'store.url: invalid sslmode value: "nonsense"$'),
        (NOBODY + "?connect_timeout=soon", "store.url: bad value for connect_timeout: 'soon'$"),
        (NOBODY + "?keepalives_idle=x", 'store.url: invalid integer value "x" for connection opt'),
        (NOBODY + "?target_session_attrs=x", 'store.url: invalid target_session_attrs value: "x"$'),
        (NOBODY + "?service=x", 'store.url: definition of service "x" not found$'),
        (
            NOBODY + "?prepare_threshold=often",
            "store.url: prepare_threshold is the number of executions",
        ),
        (NOBODY.replace(":1/", ":99999/"), 'store.url: invalid port number: "99999"$'),
    ],
)
def test_urls_that_cannot_be_used(url: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        open_store(url)
    assert "cret" not in everything_said(caught)


@pytest.mark.parametrize(
    ("credentials", "options"), [("me:s3cret@", ""), ("", "?user=me&password=s3cret")]
)
def test_unreachable_postgres_is_told_without_password(credentials: str, options: str) -> None:
    url = f"postgresql://{credentials}127.0.0.1:1/undercam{options}"
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"cannot be reached: postgresql://127.0.0.1:1/") as no:
        open_store(url, busy_timeout_s=1)
    assert time.monotonic() - started < 5
    assert "s3cret" not in everything_said(no)


@pytest.mark.needs("postgres")
@pytest.mark.parametrize(
    ("user", "database", "what"),
    [
        ("guarded:wr0ng", "postgres", "wrong user or password"),
        ("guarded", "postgres", "password is missing"),
        ("nobody", "postgres", "no such database or user"),
        ("postgres", "nowhere", "no such database or user"),
        ("refused", "postgres", "refuses the connection: .*: pg_hba.conf rejects connection for"),
        (
            "postgres",
            "postgres?sslmode=require",
            "server offers no TLS: postgresql://127.0.0.1:.*: turn `ssl` on in its settings, or",
        ),
        (
            "postgres",
            "postgres?sslmode=verify-full&sslrootcert=/no/ca.pem",
            "(server offers no TLS|authority's certificate is missing): postgresql://127.0.0.1:",
        ),
        ("postgres", "postgres?options=-cfoo=1", 'unrecognized configuration parameter "foo"$'),
        ("postgres", "postgres?client_encoding=x", 'invalid value for parameter "client_encoding"'),
        ("postgres", "postgres?target_session_attrs=standby", "server is not in hot standby mode$"),
    ],
)
def test_postgres_refuses(server: Any, user: str, database: str, what: str) -> None:
    with pytest.raises(ServiceError, match=what) as caught:
        open_store(server.url(database, user))
    assert "wr0ng" not in everything_said(caught)
    assert "start it" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.needs("postgres")
@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgres_by_any_name(postgres_url: str, scheme: str) -> None:
    engine = open_store(postgres_url.replace("postgresql+psycopg", scheme) + "?keepalives_idle=60")
    assert engine.dialect.driver == "psycopg"
    engine.dispose()


def test_sqlite_may_wait_as_long_as_its_url_says(sqlite_url: str) -> None:
    engine = open_store(sqlite_url + "?timeout=2.5")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 2500
    engine.dispose()


@pytest.mark.needs("postgres")
def test_postgres_password_never_shows(server: Any, postgres_url: str, password: str) -> None:
    """Right password, no rights: the refusal tells what the server said and nothing else."""
    name = postgres_url.rpartition("/")[2]
    with pytest.raises(ServiceError, match="permission denied") as caught:
        open_store(server.url(name, f"guarded:{password}"))
    assert password not in everything_said(caught)
