"""The relay's thread: it goes on whatever happens, and says what keeps it from delivering."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.bus import outbox_file
from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.config import Settings
from pipeline.live.relay_service import RelayService


@pytest.fixture
def placed(settings: Settings, tmp_path: Path) -> Settings:
    store = settings.store.model_copy(update={"url": f"sqlite:///{tmp_path / 'rows.db'}"})
    return settings.model_copy(update={"store": store})


@pytest.fixture
def relay(placed: Settings) -> Iterator[RelayService]:
    with RelayService(placed) as made:
        yield made


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def stored(settings: Settings) -> int:
    path = settings.store.url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM observations").fetchone()
    return int(count)


def looks(make: Any, first: int, count: int) -> list[Any]:
    return [make.look(frame) for frame in range(first, first + count)]


def test_a_folder_that_is_gone_is_said_and_made_again(
    relay: RelayService, placed: Settings, make: Any
) -> None:
    folder = Path(placed.outbox.folder)
    with Outbox(folder, "door", "e1") as outbox:
        outbox.append(looks(make, 0, 3))
    until(lambda: relay.report.sent == 3)
    faults: list[str] = []
    shutil.rmtree(folder)
    until(lambda: faults.append(relay.report.fault) or "outbox cannot be used" in faults[-1])
    until(lambda: relay.report.fault == "")
    with Outbox(folder, "door", "e1") as outbox:
        outbox.append(looks(make, 3, 2))
    until(lambda: relay.report.sent == 5)  # what was counted before stands
    sample = relay.metrics.registry.get_sample_value
    until(lambda: sample("undercam_outbox_delivered_total") == 5)
    assert stored(placed) == 5


def test_a_fault_that_nobody_foresaw_is_said(
    relay: RelayService, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: relay.report.fault == "")

    def fail(relay: Relay) -> int:
        raise KeyError("unforeseen")

    with monkeypatch.context() as patch:
        patch.setattr(Relay, "step", fail)
        until(lambda: relay.report.fault.startswith("the relay failed: KeyError"))
        sample = relay.metrics.registry.get_sample_value
        assert sample("undercam_outbox_delivery_up") == 0
    until(lambda: relay.report.fault == "")


def test_a_damaged_outbox_stays_told(relay: RelayService, placed: Settings, make: Any) -> None:
    path = outbox_file.file_of(Path(placed.outbox.folder), "door", "e1")
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".part")  # an empty outbox would be taken for one that is done with
    whole.write_bytes(b"not a database" * 1000)
    whole.rename(path)
    until(lambda: relay.report.damaged)
    (name,) = relay.report.damaged
    assert name.startswith(path.stem)
    with Outbox(placed.outbox.folder, "door", "e2") as outbox:
        outbox.append(looks(make, 0, 3))
    until(lambda: relay.report.sent == 3)
    assert relay.report.damaged == (name,)
    assert relay.report.fault == ""


def test_what_waits_when_it_is_closed_is_delivered_first(placed: Settings, make: Any) -> None:
    small = placed.outbox.model_copy(update={"batch_rows": 10})
    relay = RelayService(placed.model_copy(update={"outbox": small}))
    with Outbox(placed.outbox.folder, "door", "e1") as outbox:
        outbox.append(looks(make, 0, 100))
    relay.start()
    relay.close(drain_s=20)
    assert (relay.report.sent, relay.report.waiting) == (100, 0)
    assert stored(placed) == 100


def test_a_receiver_that_is_away_does_not_hold_up_its_end(placed: Settings, make: Any) -> None:
    nowhere = placed.store.model_copy(update={"url": "sqlite:////proc/nowhere/rows.db"})
    with Outbox(placed.outbox.folder, "door", "e1") as outbox:
        outbox.append(looks(make, 0, 3))
    relay = RelayService(placed.model_copy(update={"store": nowhere}))
    relay.start()
    until(lambda: relay.report.waiting == 3 and relay.report.fault)
    began_s = time.monotonic()
    relay.close(drain_s=20)
    assert time.monotonic() - began_s < 10
    assert relay.report.waiting == 3
