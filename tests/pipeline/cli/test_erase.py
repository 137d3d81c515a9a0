"""`undercam erase` as a user runs it: what it deletes, what it prints, what it refuses."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.cli.app import run
from pipeline.clock import wall_clock
from pipeline.config import load
from pipeline.records import Event
from pipeline.store.engine import use_store
from pipeline.store.writer import StoreWriter
from tests.pipeline.control import announced

OK, USAGE, SERVICE = 0, 2, 4
HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def faces(make: Any, camera: str, run: str = "e1") -> list[Event]:
    """One an hour, of the last two days; every second one of another track."""
    now_ms = wall_clock() - 1_000
    times = [now_ms - n * HOUR_MS for n in range(48)]
    seen = [make.observation(n, ms, camera, run, track=1 + n % 2) for n, ms in enumerate(times)]
    tracks = [make.track(camera=camera, run=run, track=n, started_ms=times[-n]) for n in (1, 2)]
    return [*seen, *tracks]


def store(events: list[Event]) -> None:
    with use_store("sqlite:///state/undercam.db") as engine:
        StoreWriter(engine).write(events)


def wait_in_outbox(events: list[Event]) -> None:
    with Outbox("state/outbox", events[0].camera, events[0].run) as outbox:
        outbox.append(events)


def stored(table: str = "observations") -> dict[str, int]:
    with closing(sqlite3.connect("state/undercam.db")) as database:
        query = f"SELECT camera, count(*) FROM {table} GROUP BY camera"
        return dict(database.execute(query).fetchall())


def erase(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["erase", *arguments, "--json"]) == OK
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_camera_goes_and_does_not_come_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, make: Any
) -> None:
    door = faces(make, "door")
    store([*door, *faces(make, "hall")])
    wait_in_outbox(door)
    old_outbox = (tmp_path / "state/outbox/door.e1.outbox").read_bytes()
    printed = erase(capsys, "--camera", "door")
    assert (printed["camera"], printed["track"]) == ("door", None)
    assert (printed["observations"], printed["tracks"], printed["runs"]) == (48, 2, 1)
    assert printed["outbox"] == {"events": 50, "running": False}
    assert printed["kafka_until"] is None
    assert stored() == stored() | {"hall": 48}
    left = bytes_of(tmp_path)
    assert b"obs:door:" not in left
    assert b"trk:door:" not in left
    (tmp_path / "state/outbox/door.e1.outbox").write_bytes(old_outbox)
    assert run(["outbox", "drain", "--json"]) == OK
    drained = json.loads(capsys.readouterr().out)
    assert (drained["sent"], drained["erased"]) == (0, 50)
    assert stored() == {"hall": 48}


def test_a_sentence_for_people(capsys: pytest.CaptureFixture[str], make: Any) -> None:
    store(faces(make, "door"))
    wait_in_outbox(faces(make, "door"))
    assert run(["erase", "--track", "door/e1/2"]) == OK
    printed = capsys.readouterr()
    assert printed.out == (
        "erased 24 observations and 1 tracks for ever (24 minutes, 0 runs, 0 dead letters)\n"
        "erased 25 events that were waiting in state/outbox\n"
    )
    assert printed.err == ""
    assert stored() == {"door": 24}


@pytest.mark.parametrize(
    ("before", "left"), [("25h", 25), ("1d", 24), ("1.5h", 2), ("90m", 2), ("1w", 48), ("0s", 0)]
)
def test_an_age(capsys: pytest.CaptureFixture[str], make: Any, before: str, left: int) -> None:
    store([*faces(make, "door"), *faces(make, "hall")])
    printed = erase(capsys, "--camera", "door", "--before", before)
    assert printed["observations"] == 48 - left
    assert stored() | {"door": stored().get("door", 0)} == {"door": left, "hall": 48}


def test_a_time_for_all_cameras(capsys: pytest.CaptureFixture[str], make: Any) -> None:
    store([*faces(make, "door"), *faces(make, "hall")])
    time = datetime.fromtimestamp(wall_clock() / 1000 - 10 * 3600 - 60, UTC)
    for text in (time.isoformat(), time.replace(tzinfo=None).isoformat(timespec="seconds")):
        printed = erase(capsys, "--before", text)
    assert printed["observations"] == 0
    assert stored() == {"door": 11, "hall": 11}
    assert stored("emotion_minutes") == {"door": 11, "hall": 11}


def test_nothing_matched_is_no_error(capsys: pytest.CaptureFixture[str], make: Any) -> None:
    """It stays erased, also where its records are still on their way; a slip is pointed out."""
    assert run(["erase", "--track", "door/e7/3"]) == OK
    assert capsys.readouterr().out.startswith("erased 0 observations and 0 tracks for ever")
    store(faces(make, "door"))
    assert run(["erase", "--camera", "dor"]) == OK
    out, err = capsys.readouterr()
    assert out.startswith("erased 0 observations and 0 tracks for ever")
    assert err.startswith("undercam: no such camera so far: dor: ")
    assert "did you mean 'door'?" in err
    store([make.observation(0, 1_000, run="e7", track=3)])
    assert stored() == {"door": 48}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to erase: erasure: give a track, a camera or a time"),
        (["--track", "door"], "not a track: door: give CAMERA/RUN/NUMBER"),
        (["--track", "door/e1/1", "--camera", "door"], "a track stands alone"),
        (["--camera", "Front Door"], "Front Door"),
        (["--before", "yesterday"], "not a time: --before yesterday: give a UTC time"),
        (["--before", "2999-01-01"], "not a time in the past: 32472144000000 ms: what is still"),
        (["--before", "-3d"], "not a time: --before -3d"),
    ],
)
def test_what_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["erase", *arguments]) == USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("state").exists()


def test_an_unreachable_database_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERCAM_STORE__URL", "postgresql+psycopg://ann@127.0.0.1:9/u")
    assert run(["erase", "--camera", "door"]) == SERVICE
    assert "database cannot be reached" in capsys.readouterr().err


def test_through_the_supervisor_of_a_run_at_work(
    capsys: pytest.CaptureFixture[str], make: Any
) -> None:
    store(faces(make, "door"))
    with announced(load()) as found:
        printed = erase(capsys, "--camera", "door")
    assert found
    assert (printed["observations"], stored()) == (48, {})
    assert printed["outbox"] == {"events": 0, "running": True}


def test_beside_a_relay_and_with_kafka(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    """Kafka itself is not asked: it may be away."""
    monkeypatch.setenv("UNDERCAM_BUS__URL", "kafka://127.0.0.1:9")
    monkeypatch.setenv("UNDERCAM_BUS__RETENTION_HOURS", "80")
    store(faces(make, "door"))
    with Relay("state/outbox", print):
        printed = erase(capsys, "--camera", "door")
        assert printed["outbox"] == {"events": 0, "running": True}
        assert run(["erase", "--camera", "door"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "the running `undercam run` deletes it from its outboxes within seconds"
    until = datetime.fromisoformat(printed["kafka_until"])
    hours = (until - datetime.now(UTC)).total_seconds() / 3600
    assert 90 < hours < 90.2  # the rest of its segment, the retention, and Kafka's own delays
    assert lines[2].startswith("Kafka: its topics keep what was sent until ")
    assert "(bus.retention_hours = 80)" in lines[2]
