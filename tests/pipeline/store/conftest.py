"""Databases to test on, real ones: a SQLite file, and a PostgreSQL server of our own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from models.emotions import EMOTIONS
from pipeline.records import (
    CameraStatus,
    EventsLost,
    FaceObserved,
    Probabilities,
    Quality,
    Smoothed,
    TrackUpdated,
)
from pipeline.store.engine import open_store
from pipeline.store.schema import metadata

GUARDED = "host all guarded 127.0.0.1/32 scram-sha-256\nhost all refused 127.0.0.1/32 reject\n"
"""The one user who needs a password, and the one who is turned away; everyone else is trusted."""
PASSWORD = "s3cret-w0rd"


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server on loopback."""

    port: int

    def url(self, database: str, user: str = "postgres") -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str) -> None:
        where = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on, another one for each test."""
    return _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Started once, without TLS."""
    with running(GUARDED) as made:
        made.sql(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
        yield made


@contextmanager
def running(rules: str, keys: Path | None = None) -> Iterator[Server]:
    """A server with `rules` before those that trust everyone; it offers TLS with the certificate
    and key of the folder `keys`. PostgreSQL refuses root, so it then runs as user postgres."""
    programs = _programs()
    home = Path(tempfile.mkdtemp(prefix="undercam-postgres-"))
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(home, "postgres", "postgres")
    initdb = [str(programs / "initdb"), "-D", str(home / "data"), "-U", "postgres", "-A", "trust"]
    subprocess.run([*initdb, "--no-sync"], check=True, capture_output=True, cwd=home, **as_user)
    trusting = home / "data/pg_hba.conf"
    trusting.write_text(rules + trusting.read_text())
    options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-k", str(home)]
    if keys:
        options += _offer_tls(keys, home / "data", bool(as_user))
    port = _free_port()
    start = [str(programs / "postgres"), "-D", str(home / "data"), "-p", str(port), *options]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(start, stdout=log, stderr=log, cwd=home, **as_user)
    try:
        made = Server(port)
        _wait_for(made, process, home / "log")
        yield made
    finally:
        process.send_signal(signal.SIGQUIT)  # nothing here needs a checkpoint
        process.wait(20)
        shutil.rmtree(home)


def _offer_tls(keys: Path, folder: Path, is_root: bool) -> list[str]:
    for name in ("certificate.pem", "key.pem"):
        (folder / name).write_bytes((keys / name).read_bytes())
        (folder / name).chmod(0o600)  # PostgreSQL reads no key that others may read
        if is_root:
            shutil.chown(folder / name, "postgres", "postgres")
    return ["-c", "ssl=on", "-c", "ssl_cert_file=certificate.pem", "-c", "ssl_key_file=key.pem"]


POOLER = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {home}/users
pool_mode = transaction
default_pool_size = 2
max_client_conn = 50
"""


@pytest.fixture(scope="session")
def pooler(server: Server) -> Iterator[Server]:
    """PgBouncer before the server, in transaction mode: many clients share two sessions."""
    home = Path(tempfile.mkdtemp(prefix="undercam-pooler-"))
    port = _free_port()
    (home / "users").write_text('"postgres" ""\n')
    (home / "ini").write_text(POOLER.format(server=server.port, port=port, home=home))
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        for path in (home, home / "users", home / "ini"):
            shutil.chown(path, "postgres", "postgres")
    with (home / "log").open("w") as log:
        command = ["pgbouncer", str(home / "ini")]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=home, **as_user)
    try:
        made = Server(port)
        _wait_for(made, process, home / "log")
        yield made
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(20)
        shutil.rmtree(home)


def _programs() -> Path:
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(newest[-1]) if newest else shutil.which("initdb")
    if found is None:
        pytest.skip("needs postgres: install postgresql")
    return Path(found).resolve().parent


def _wait_for(made: Server, process: subprocess.Popen[Any], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return made.sql("SELECT 1")
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


_numbers = count(1)
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))]


@pytest.fixture
def postgres_url(server: Server) -> str:
    """An empty database of its own; it goes when the server goes."""
    name = f"test_{next(_numbers)}"
    server.sql(f"CREATE DATABASE {name}")
    return server.url(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/undercam.db"


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    """An empty database: each test runs on SQLite and on PostgreSQL."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    found: str = request.getfixturevalue(name)
    return found


@pytest.fixture(scope="session")
def postgres_store(server: Server) -> Iterator[Engine]:
    server.sql("CREATE DATABASE store")
    opened = open_store(server.url("store"))
    yield opened
    opened.dispose()


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An open store without rows, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        opened = open_store(request.getfixturevalue("sqlite_url"))
        yield opened
        opened.dispose()
    else:
        opened = request.getfixturevalue("postgres_store")
        with opened.begin() as connection:
            connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)}"))
        yield opened


class Make:
    """Events by the few values that a test is about."""

    @staticmethod
    def observation(
        frame: int = 0,
        captured_ms: int = 1_000,
        camera: str = "door",
        run: str = "e1",
        track: int = 1,
        label: str = "happiness",
        clock: str = "rtcp",
        reason: str = "",
    ) -> FaceObserved:
        shares = [0.02] * 8
        shares[EMOTIONS.index(label) if label in EMOTIONS else 0] = 0.86
        return FaceObserved(
            id=FaceObserved.make_id(camera, run, track, frame),
            camera=camera,
            run=run,
            track=track,
            frame=frame,
            pts_ms=captured_ms,
            captured_ms=captured_ms,
            clock=clock,
            received_ms=captured_ms + 1,
            classified_ms=captured_ms + 2,
            published_ms=captured_ms + 3,
            box=(0.1, 0.2, 0.3, 0.4),
            detector_score=0.9,
            probabilities=Probabilities.of(shares),
            label="neutral",
            confidence=0.86,
            smoothed=Smoothed(label=label, confidence=0.5),
            uncertainty=0.1,
            answered=True,
            quality=Quality(blur=0.2, luma=0.5, size_px=80.5),
            model="resnet18-w32",
            mode="auto",
            reason=reason,
        )

    look = observation

    @staticmethod
    def track(
        seq: int = 0,
        phase: str = "update",
        camera: str = "door",
        run: str = "e1",
        track: int = 1,
        started_ms: int = 1_000,
        ended_ms: int = 2_000,
        observations: int = 1,
        mean: tuple[float, ...] = (0.3, *[0.1] * 7),
    ) -> TrackUpdated:
        return TrackUpdated(
            id=TrackUpdated.make_id(camera, run, track),
            camera=camera,
            run=run,
            track=track,
            phase=phase,
            seq=seq,
            started_ms=started_ms,
            ended_ms=ended_ms,
            observations=observations,
            mean=Probabilities.of(list(mean)),
        )

    @staticmethod
    def status(
        seq: int = 0,
        state: str = "online",
        since_ms: int = 1_000,
        camera: str = "door",
        run: str = "e1",
        shed: dict[str, int] | None = None,
    ) -> CameraStatus:
        return CameraStatus(
            id=CameraStatus.make_id(camera, run, seq),
            camera=camera,
            run=run,
            seq=seq,
            state=state,
            since_ms=since_ms,
            reason="as reported",
            fps=24.5,
            lag_ms=40,
            shed=shed or {},
        )

    @staticmethod
    def loss(
        number: int = 1,
        events: int = 10,
        since_ms: int = 1_000,
        until_ms: int = 2_000,
        camera: str = "door",
        run: str = "e1",
        reason: str = "outbox is full",
    ) -> EventsLost:
        return EventsLost(
            id=EventsLost.make_id(camera, run, number),
            camera=camera,
            run=run,
            since_ms=since_ms,
            until_ms=until_ms,
            events=events,
            reason=reason,
        )


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make


@pytest.fixture(scope="session")
def password() -> str:
    return PASSWORD
