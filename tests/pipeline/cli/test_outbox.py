"""`undercam outbox`: what waits is shown, and sent by hand."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.cli.app import run

OK, USAGE, INPUT, SERVICE = 0, 2, 3, 4


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def filled(camera: str, count: int, make: Any, max_rows: int = 1000) -> Outbox:
    outbox = Outbox("state/outbox", camera, "e1", max_rows)
    outbox.append([make.look(n, n, camera) for n in range(count)])
    return outbox


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def stored() -> int:
    with sqlite3.connect("state/undercam.db") as database:
        ((count,),) = database.execute("SELECT count(*) FROM observations").fetchall()
    database.close()
    return int(count)


def test_status(capsys: pytest.CaptureFixture[str], make: Any) -> None:
    filled("hall", 15, make, max_rows=10).close()
    (Path("state/outbox") / "lab.e1.outbox").write_bytes(b"garbage" * 1000)
    with filled("door", 3, make):
        assert run(["outbox", "status", "state/outbox", "--json"]) == OK
        told = printed(capsys)
    assert (told["waiting"], told["lost"]) == (14, 5)
    door, hall, lab = told["files"]
    assert door | {"fault": ""} == {
        **{"file": "door.e1.outbox", "camera": "door", "run": "e1", "waiting": 3, "lost": 0},
        **{"live": True, "fault": ""},
    }
    assert (hall["waiting"], hall["lost"], hall["live"]) == (11, 5, False)
    assert "outbox is damaged" in lab["fault"]
    assert run(["outbox", "status"]) == OK
    assert "hall" in capsys.readouterr().out


def test_status_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["outbox", "status", "nowhere"]) == INPUT
    assert "no folder of outboxes: nowhere: " in capsys.readouterr().err


def test_drain_into_the_database(capsys: pytest.CaptureFixture[str], make: Any) -> None:
    filled("hall", 15, make, max_rows=10).close()
    filled("yard", 1200, make, max_rows=5000).close()
    (Path("state/outbox") / "lab.e1.outbox").write_bytes(b"garbage" * 1000)
    with filled("door", 3, make):
        assert run(["outbox", "drain", "state/outbox", "--json"]) == OK
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert err.splitlines() == [f"undercam: outbox is damaged: {told['damaged'][0]}: {ASIDE}"]
    del told["damaged"]
    assert told == {"sent": 1214, "erased": 0, "dead": 0, "lost": 5, "waiting": 0}
    assert stored() == 1213
    left = [path.name for path in Path("state/outbox").glob("*.outbox*")]
    assert sorted(left) == ["door.e1.outbox", "lab.e1.outbox.1.damaged"]


ASIDE = "it was set aside; all others were sent"


def test_drain_when_the_database_is_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    filled("door", 3, make).close()
    monkeypatch.setenv("UNDERCAM_STORE__URL", "postgresql+psycopg://ann:hunter2@127.0.0.1:9/u")
    assert run(["outbox", "drain", "state/outbox"]) == SERVICE
    out, err = capsys.readouterr()
    assert out == ""
    assert "database cannot be reached: postgresql://127.0.0.1:9/u: " in err
    assert "hunter2" not in err
    assert len(err.splitlines()) == 1


def test_drain_beside_a_relay(capsys: pytest.CaptureFixture[str], make: Any) -> None:
    filled("door", 3, make).close()
    with Relay("state/outbox", print):
        assert run(["outbox", "drain"]) == SERVICE
    assert "another relay drains this outbox" in capsys.readouterr().err


def test_store_without_a_bus(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store"]) == USAGE
    assert "no bus to read from: bus.url: set it" in capsys.readouterr().err


def test_readable_without_json(capsys: pytest.CaptureFixture[str], make: Any) -> None:
    filled("door", 3, make).close()
    assert run(["outbox", "drain"]) == OK
    assert capsys.readouterr().out == "sent 3 events and 0 dead letters\n"
    assert run(["outbox", "status"]) == OK
    assert capsys.readouterr().out == "no event is waiting\n"
