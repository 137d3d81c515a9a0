"""What `undercam run` makes of what it hears."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli.run import _lines, _print_news, _seed, as_dict, faults, has_ended
from pipeline.config import load
from pipeline.live.engine import State
from pipeline.live.leases import Lease, Report
from pipeline.live.relay_service import RelayReport
from pipeline.settings import CameraSettings

WELL = RelayReport(sent=5)
SILENT = RelayReport(sent=5, fault="the relay does not answer")
ELSEWHERE = RelayReport(fault="another relay drains this outbox", elsewhere=True)


def state(*relays: RelayReport, camera: str = "ended") -> State:
    lease = Lease("door", 1, CameraSettings(url="clip.mp4"))
    named = {f"relay-{number}": relay for number, relay in enumerate(relays)}
    return State({"door": Report(lease, camera)}, named)


@pytest.mark.parametrize(
    ("heard", "ended"),
    [
        (state(WELL), True),
        (state(WELL, ELSEWHERE), True),
        (state(), False),
        (state(SILENT), False),
        (state(WELL, SILENT), False),
        (state(ELSEWHERE), False),
        (state(RelayReport(waiting=1)), False),
        (state(WELL, camera="connecting"), False),
        (state(WELL, camera="failed"), True),
        (state(WELL, camera="refused"), True),
        (State(relays={"relay-0": WELL}), False),
    ],
)
def test_it_has_ended_when_every_file_is_read_and_every_row_stored(
    heard: State, ended: bool
) -> None:
    assert has_ended(heard) == ended


def test_every_fault_is_told() -> None:
    damaged = RelayReport(damaged=("door.e1",))
    assert faults(state(WELL)) == []
    assert faults(state(WELL, ELSEWHERE)) == []
    assert faults(state(WELL, SILENT)) == [SILENT.fault]
    assert faults(state(damaged)) == [
        "door.e1 is damaged and was set aside: its events are not delivered"
    ]
    assert as_dict(state(WELL))["ok"]
    for heard in (state(SILENT), state(damaged), state(WELL, camera="failed")):
        assert not as_dict(heard)["ok"]


@pytest.mark.parametrize(
    ("cameras", "is_said"),
    [
        ({}, True),
        ({"door": {"url": "clip.mp4", "enabled": False}}, True),
        ({"door": {"url": "clip.mp4"}}, False),
    ],
)
def test_without_a_camera_it_says_how_to_add_one(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    cameras: dict[str, dict[str, object]],
    is_said: bool,
) -> None:
    assert _seed(load(store={"url": f"sqlite:///{tmp_path}/u.db"}, cameras=cameras))
    said = capsys.readouterr().err
    assert ("no camera to read: add one by `undercam cameras add NAME ADDRESS`" in said) == is_said


def test_a_fault_that_is_over_is_told_and_only_cameras_are_no_longer_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown: dict[str, str] = {}

    def told(heard: State) -> list[str]:
        _print_news(shown, _lines(heard, shown))
        return [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]

    well = state(WELL, camera="online")
    assert told(replace(well, store_fault="database is locked", trouble="away")) == [
        "camera registry: away",
        "door: online",
        "events: being delivered",
        "store: database is locked",
    ]
    assert told(well) == ["camera registry: reachable", "store: being written"]
    assert told(well) == []
    assert told(State()) == ["door: no longer read"]
