"""Where a relay's batches go, by the settings alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from pipeline.config import Settings
from pipeline.errors import ConfigError, ServiceError
from pipeline.live.delivery import REPLAY_S, IntoStore, delivery
from pipeline.records import DeadLetter
from pipeline.service_settings import BusSettings, StoreSettings
from pipeline.store.engine import open_store
from pipeline.store.schema import dead_letters, observations

AWAY = "postgresql+psycopg://127.0.0.1:9/u"


def test_without_a_bus_into_the_store(tmp_path: Path, make: Any) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with delivery(Settings(store=StoreSettings(url=url))) as deliver:
        deliver([make.look(1), DeadLetter("door.e1.outbox/2", "no JSON", b"{"), make.look(2)])
        deliver([make.look(2), make.look(3)])
    engine = open_store(url)
    with engine.connect() as connection:
        counts = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (observations, dead_letters)
        ]
    engine.dispose()
    assert counts == [3, 1]


def test_a_database_that_is_away_is_tried_again_with_each_batch(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    into_store = IntoStore(StoreSettings(url=AWAY))
    for _ in range(2):
        with pytest.raises(ServiceError, match="database cannot be reached"):
            into_store([make.look()])
    monkeypatch.setattr(into_store, "_url", f"sqlite:///{tmp_path}/store.db")
    into_store([make.look()])
    into_store.close()


def test_kafka_without_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pipeline.bus.kafka.publisher", None)
    settings = Settings(bus=BusSettings(url="kafka://127.0.0.1:9"))
    with (
        pytest.raises(ConfigError, match=r"client is missing: bus.url: pip install .*\[kafka\]"),
        delivery(settings),
    ):
        pass


def test_dead_letters_are_looked_at_again_after_a_fault_and_now_and_then(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    now_s = [0.0]

    def replay(writer: object) -> int:
        looks.append(now_s[0])
        if len(looks) == 1:
            raise ServiceError("the database went away", "store.url", "wait")
        return 0

    monkeypatch.setattr("pipeline.live.delivery.replay_newer", replay)
    into_store = IntoStore(StoreSettings(url=f"sqlite:///{tmp_path}/s.db"), lambda: now_s[0])
    with pytest.raises(ServiceError, match="went away"):
        into_store([make.look(1)])
    for now_s[0] in (1.0, 2.0, 1.0 + REPLAY_S):
        assert into_store([make.look(1)]) == 0
    into_store.close()
    assert looks == [0.0, 1.0, 1.0 + REPLAY_S]
