"""`undercam store` as a process: ends when told, and a killed one costs nothing."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.bus.inspection import inspect_outboxes
from pipeline.bus.kafka.publisher import KafkaPublisher
from pipeline.bus.outbox import Outbox
from pipeline.service_settings import BusSettings
from tests.pipeline.broker import NEEDS_KAFKA
from tests.pipeline.live.test_store_lies import LIES, lie

pytestmark = NEEDS_KAFKA
ROOT = Path(__file__).parents[3]


def start(
    bus: BusSettings, folder: Path, *options: str, command: str = "store"
) -> subprocess.Popen[str]:
    toml = folder / "undercam.toml"
    toml.write_text(
        f'[bus]\nurl = "{bus.url}"\ntopic_prefix = "{bus.topic_prefix}"\ngroup = "{bus.group}"\n'
        f"timeout_s = {bus.timeout_s}\n"
        f'[store]\nurl = "sqlite:///{folder}/store.db"\nbatch_rows = 20\n'
    )
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command.split(), "-c", str(toml), "--json", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(folder: Path) -> int:
    try:
        with sqlite3.connect(f"file:{folder}/store.db?mode=ro", uri=True) as database:
            ((count,),) = database.execute("SELECT count(*) FROM observations").fetchall()
    except sqlite3.OperationalError:  # not made yet
        return 0
    database.close()
    return int(count)


def wait_for(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while rows(folder) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_until_idle(bus: BusSettings, tmp_path: Path, make: Any) -> None:
    with KafkaPublisher(bus) as publisher:
        publisher.send([make.observation(n) for n in range(100)])
    process = start(bus, tmp_path, "--until-idle", "1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    told = json.loads(out)
    assert told.pop("seconds") > 0
    assert told == {"events": 100, "batches": 5, "dead": 0, "erased": 0, "cut": 0}
    assert rows(tmp_path) == 100


@pytest.mark.slow
def test_killed_and_told_to_end(bus: BusSettings, tmp_path: Path, make: Any) -> None:
    """kill -9 in the middle, then SIGTERM in the middle, then to the end."""
    with KafkaPublisher(bus) as publisher:
        publisher.send([make.observation(n) for n in range(3000)])
    killed = start(bus, tmp_path)
    wait_for(tmp_path, 200)
    killed.kill()
    killed.communicate()
    ended = start(bus, tmp_path)
    wait_for(tmp_path, rows(tmp_path) + 200)
    ended.send_signal(signal.SIGTERM)
    out, err = ended.communicate(timeout=60)
    assert (ended.returncode, err) == (0, "")
    assert json.loads(out)["events"] >= 200
    last = start(bus, tmp_path, "--until-idle", "2")
    out, _ = last.communicate(timeout=120)
    assert last.returncode == 0
    assert rows(tmp_path) == 3000


@pytest.mark.slow
def test_what_no_one_can_read_stops_neither_it_nor_its_restart(
    bus: BusSettings, tmp_path: Path, make: Any
) -> None:
    with KafkaPublisher(bus) as publisher:
        publisher.send([make.observation(0)])
        lie(bus, "observations", LIES)
        publisher.send([make.observation(1)])
    for events, dead in ((2, len(LIES)), (0, 0)):
        process = start(bus, tmp_path, "--until-idle", "2")
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        told = json.loads(out)
        assert (told["events"], told["dead"], told["cut"]) == (events, dead, 0)
    assert rows(tmp_path) == 2


def test_broker_away_at_the_start(bus: BusSettings, tmp_path: Path, make: Any) -> None:
    away = bus.model_copy(update={"url": "kafka://127.0.0.1:9", "timeout_s": 1.0})
    with Outbox(tmp_path / "state/outbox", "door", "e1") as outbox:
        outbox.append([make.observation()])
    for command in ("store", "outbox drain"):
        process = start(away, tmp_path, command=command)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (4, "")
        assert err.startswith("undercam: broker cannot be reached: kafka://127.0.0.1:9: ")
        assert len(err.splitlines()) == 1
    (waits,) = inspect_outboxes(tmp_path / "state/outbox")
    assert waits.waiting == 1


@pytest.mark.slow
def test_drain_into_kafka_and_on_into_the_database(
    bus: BusSettings, tmp_path: Path, make: Any
) -> None:
    with Outbox(tmp_path / "state/outbox", "door", "e1") as outbox:
        outbox.append([make.observation(n) for n in range(700)])
    drain = start(bus, tmp_path, command="outbox drain")
    out, err = drain.communicate(timeout=60)
    assert (drain.returncode, err) == (0, "")
    assert json.loads(out)["sent"] == 700
    assert inspect_outboxes(tmp_path / "state/outbox") == []
    store = start(bus, tmp_path, "--until-idle", "1")
    store.communicate(timeout=60)
    assert rows(tmp_path) == 700
