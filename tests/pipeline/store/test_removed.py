"""A SQLite file that is removed, replaced or restored under whoever writes: no row goes nowhere."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select

from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.errors import ServiceError
from pipeline.live.delivery import IntoStore
from pipeline.service_settings import StoreSettings
from pipeline.settings import CameraSettings
from pipeline.store import sqlite_file
from pipeline.store.engine import begin_write, open_store
from pipeline.store.registry import RegistryWatch, register, registered_cameras
from pipeline.store.schema import cameras
from pipeline.store.sqlite_file import DatabaseFile
from pipeline.store.writer import StoreWriter


def parts(file: Path) -> list[Path]:
    names = (Path(f"{file}{ending}") for ending in ("", "-shm", "-wal"))
    return [part for part in names if part.exists()]


def remove(file: Path) -> None:
    file.unlink()


def remove_all(file: Path) -> None:
    for part in parts(file):
        part.unlink()


def remove_log(file: Path) -> None:
    Path(f"{file}-wal").unlink()


def remove_index(file: Path) -> None:
    Path(f"{file}-shm").unlink()


def remove_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def replace_by_nothing(file: Path) -> None:
    remove_all(file)
    file.touch()


def replace_by_another(file: Path) -> None:
    other = file.with_name("other.db")
    open_store(f"sqlite:///{other}").dispose()
    remove_all(file)
    other.rename(file)


def replace_by_a_copy(file: Path) -> None:
    copies = [shutil.copy(part, f"{part}.copy") for part in parts(file)]
    remove_all(file)
    for copy in copies:
        Path(copy).rename(Path(copy).with_suffix(""))


HARM = [
    *(remove, remove_all, remove_log, remove_index, remove_folder),
    *(replace_by_nothing, replace_by_another, replace_by_a_copy),
]


def frames(file: Path) -> list[int]:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute("SELECT frame FROM observations ORDER BY frame").fetchall()
    return [frame for (frame,) in rows]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "undercam.db"


@pytest.fixture
def into_store(file: Path) -> Iterator[IntoStore]:
    made = IntoStore(StoreSettings(url=f"sqlite:///{file}"))
    yield made
    made.close()


@pytest.mark.parametrize("harm", HARM)
def test_what_waits_arrives_in_the_file_of_that_name(
    harm: Callable[[Path], None],
    file: Path,
    into_store: IntoStore,
    tmp_path: Path,
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_file, "RECREATE_AFTER_S", 0.0)
    now = [0.0]
    with (
        Outbox(tmp_path / "outbox", "door", "e1") as outbox,
        Relay(tmp_path / "outbox", into_store, clock=lambda: now[0]) as relay,
    ):
        outbox.append([make.observation(n) for n in range(10)])
        assert relay.step() == 10
        harm(file)
        outbox.append([make.observation(n) for n in range(10, 20)])
        while relay.waiting:
            relay.step()
            now[0] += 20
            assert now[0] < 200
    into_store.close()
    assert frames(file)[-10:] == list(range(10, 20))


def test_a_removed_file_is_a_fault_until_it_is_back(
    file: Path, into_store: IntoStore, tmp_path: Path, make: Any
) -> None:
    now = [0.0]
    with (
        Outbox(tmp_path / "outbox", "door", "e1") as outbox,
        Relay(tmp_path / "outbox", into_store, clock=lambda: now[0]) as relay,
    ):
        outbox.append([make.observation(n) for n in range(10)])
        assert relay.step() == 10
        away = [part.rename(f"{part}.away") for part in parts(file)]
        outbox.append([make.observation(n) for n in range(10, 20)])
        for _ in range(3):
            assert relay.step() == 0
            assert "database file was removed: " in str(relay.fault)
            assert (relay.sent, relay.waiting, file.exists()) == (10, 10, False)
            now[0] += 20
        for part in away:
            part.rename(part.with_suffix(""))
        assert relay.step() == 10
        assert relay.fault is None
    into_store.close()
    assert frames(file) == list(range(20))


@pytest.mark.parametrize("harm", HARM)
def test_rows_that_were_under_way_are_not_called_stored(
    harm: Callable[[Path], None], file: Path
) -> None:
    engine = open_store(f"sqlite:///{file}")
    with engine.connect() as connection:
        connection.execute(select(cameras))

    def store() -> None:
        with begin_write(engine) as connection:
            connection.execute(delete(cameras))
            harm(file)

    with pytest.raises(ServiceError, match=r"removed or replaced: .*undercam\.db: .*sent again"):
        store()
    engine.dispose()


def test_dead_letters_too(file: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.records import DeadLetter

    monkeypatch.setattr(sqlite_file, "RECREATE_AFTER_S", 0.0)
    engine = open_store(f"sqlite:///{file}")
    writer = StoreWriter(engine)
    remove_all(file)
    writer.write_dead_letters([DeadLetter("door.e1.outbox/2", "no JSON", b"{")])
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (1,)
    engine.dispose()


def test_a_file_that_is_gone_is_waited_for(file: Path) -> None:
    now = [100.0]
    database = DatabaseFile(file, lambda: now[0])
    database.create()
    database.recreate_if_gone()
    file.unlink()
    for _ in range(2):
        with pytest.raises(ServiceError, match="removed: .*: put it back"):
            database.recreate_if_gone()
        now[0] += sqlite_file.RECREATE_AFTER_S / 2
    database.recreate_if_gone()
    assert file.exists()
    file.unlink()
    with pytest.raises(ServiceError, match="removed"):
        database.recreate_if_gone()


def test_a_registry_outlives_its_database(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras go on, and are registered again in the new one."""
    url = f"sqlite:///{file}"
    door, hall = CameraSettings(url="rtsp://10.0.0.7/live"), CameraSettings(url="env:HALL_URL")
    engine: Engine = open_store(url)
    register(engine, "door", door, "settings")
    register(engine, "hall", hall)
    engine.dispose()
    watch = RegistryWatch(url, 1.0, every_s=0.01)
    watch.start()
    try:
        until(watch, lambda: watch() == {"door": door, "hall": hall})
        monkeypatch.setattr(sqlite_file, "RECREATE_AFTER_S", 0.3)
        remove_all(file)
        until(watch, lambda: "removed" in said(watch))
        until(watch, lambda: watch() == {"door": door, "hall": hall})
    finally:
        watch.close()
    again = open_store(url)
    assert registered_cameras(again) == {"door": door, "hall": hall}
    again.dispose()


def said(watch: RegistryWatch) -> str:
    try:
        watch()
    except ServiceError as error:
        return str(error)
    return ""


def until(watch: RegistryWatch, condition: Callable[[], object]) -> None:
    import time

    end = time.monotonic() + 20
    while True:
        try:
            if condition():
                return
        except ServiceError:
            pass
        assert time.monotonic() < end
        time.sleep(0.005)
