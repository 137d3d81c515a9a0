"""PostgreSQL over TLS, verified: rows go in, and whoever is not the server gets no password."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from pipeline.bus.outbox import Outbox
from pipeline.cli.checks.services import checks_of_services
from pipeline.config import load
from pipeline.errors import ServiceError
from pipeline.store.engine import open_store, use_store
from pipeline.store.schema import observations
from pipeline.store.writer import StoreWriter
from tests.pipeline.certificate import make_authority, sign
from tests.pipeline.store.conftest import Server, running

pytestmark = [pytest.mark.needs("postgres", "openssl")]
ROOT = Path(__file__).parents[3]
PASSWORD = "k33per-0f-rows"
RULES = """
hostssl all keeper 127.0.0.1/32 scram-sha-256
host all keeper 127.0.0.1/32 reject
"""
"""Who has a password must come over TLS."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_authority(tmp_path_factory.mktemp("authority"))


def serving(authority: Path, folder: Path, name: str) -> Iterator[Server]:
    with running(RULES, sign(authority, folder, name).parent) as made:
        made.sql(f"CREATE ROLE keeper LOGIN PASSWORD '{PASSWORD}'")
        made.sql("CREATE DATABASE kept OWNER keeper")
        yield made


@pytest.fixture(scope="module")
def secure(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from serving(authority, tmp_path_factory.mktemp("secure"), "IP:127.0.0.1")


@pytest.fixture(scope="module")
def elsewhere(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its certificate names another host."""
    yield from serving(authority, tmp_path_factory.mktemp("other"), "DNS:postgres.example")


def url_of(server: Server, authority: Path, password: str = PASSWORD) -> str:
    options = f"?sslmode=verify-full&sslrootcert={authority}"
    return server.url("kept", f"keeper:{password}") + options


def rows(url: str) -> int:
    with use_store(url) as engine, engine.connect() as connection:
        count: int = connection.execute(select(func.count()).select_from(observations)).scalar_one()
    return count


def test_rows_are_written_over_a_verified_connection(
    secure: Server, authority: Path, make: Any
) -> None:
    url = url_of(secure, authority)
    with use_store(url) as engine:
        StoreWriter(engine).write([make.look(n) for n in range(50)])
        with engine.connect() as connection:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert connection.execute(text(query)).scalar_one() is True
    assert rows(url) == 50


def refusal(url: str) -> str:
    with pytest.raises(ServiceError) as caught:
        open_store(url)
    said = str(caught.value)
    assert PASSWORD not in said
    assert len(said.splitlines()) == 1
    return said


def test_each_fault_is_one_sentence(
    secure: Server, elsewhere: Server, server: Server, authority: Path, tmp_path: Path
) -> None:
    where = f"postgresql://127.0.0.1:{secure.port}/kept"
    stranger = make_authority(tmp_path / "stranger")
    assert refusal(url_of(secure, stranger)).startswith(
        f"database server's certificate is not trusted: {where}: give the certificate of "
    )
    assert refusal(url_of(secure, tmp_path / "no.pem")).startswith(
        f"authority's certificate is missing: {where}: correct sslrootcert"
    )
    assert refusal(url_of(elsewhere, authority)).startswith(
        "database server's certificate names another host: postgresql://127.0.0.1:"
    )
    assert refusal(url_of(server, authority)).startswith(
        f"database server offers no TLS: postgresql://127.0.0.1:{server.port}/kept: turn `ssl` on"
    )
    assert refusal(url_of(secure, authority, "wr0ng")).startswith(
        f"wrong user or password: {where}: "
    )
    without = secure.url("kept", f"keeper:{PASSWORD}") + "?sslmode=disable"
    assert "no encryption" in refusal(without)


class Command:
    """`undercam` with the database's URL in a file; what `ps` shows of it is noted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.shown = ""

    def run(self, *arguments: str) -> tuple[int, str]:
        """The exit code, and all that was printed."""
        command = [sys.executable, "-m", "pipeline", *arguments, "-c", "undercam.toml"]
        with subprocess.Popen(
            command,
            cwd=self._folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            while process.poll() is None:
                listed = ["ps", "axeww", "-o", "args="]  # with each one's environment
                self.shown += subprocess.run(listed, capture_output=True, text=True).stdout
                time.sleep(0.1)
            assert process.stdout
            return process.returncode, process.stdout.read()


def test_a_password_in_a_file_shows_nowhere(
    secure: Server, authority: Path, tmp_path: Path, make: Any
) -> None:
    (tmp_path / "url").write_text(url_of(secure, authority) + "\n")
    (tmp_path / "undercam.toml").write_text(f'[store]\nurl = "file:{tmp_path}/url"\n')
    before = rows(url_of(secure, authority))
    with Outbox(tmp_path / "state/outbox", "door", "e2") as outbox:
        outbox.append([make.look(n, run="e2") for n in range(20)])
    command = Command(tmp_path)
    code, drained = command.run("outbox", "drain")
    assert (code, rows(url_of(secure, authority))) == (0, before + 20)
    checked = str(checks_of_services(load(tmp_path / "undercam.toml"))["store"].probe())
    assert f"postgresql://127.0.0.1:{secure.port}/kept" in checked
    stranger = make_authority(tmp_path / "stranger")
    (tmp_path / "url").write_text(url_of(secure, stranger))
    with Outbox(tmp_path / "state/outbox", "door", "e3") as outbox:
        outbox.append([make.look(n, run="e3") for n in range(20)])
    code, refused = command.run("outbox", "drain")
    assert code == 4
    assert refused.startswith("undercam: database server's certificate is not trusted: ")
    assert "pipeline outbox drain" in command.shown
    assert PASSWORD not in f"{drained}{checked}{refused}{command.shown}"
