"""How `undercam run` ends: soon, in order, and with a word, whatever ends and however."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.live.ray.conftest import Live
from tests.pipeline.live.ray.test_run import check_rows, config
from tests.pipeline.live.ray.test_security import command_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SOON_S = 10.0


def ended(live: Live) -> tuple[int, float, str]:
    """Exit code, how long it took, and what was printed."""
    began_s = time.monotonic()
    out, _ = live.process.communicate(timeout=60)
    return live.process.returncode, time.monotonic() - began_s, out


def waiting(live: Live) -> int:
    """Events in outboxes on the disk."""
    events = 0
    for path in (live.folder / "state" / "outbox").glob("*.outbox"):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        events += connection.execute("SELECT count(*) FROM events").fetchone()[0]
        connection.close()
    return events


def nothing_is_left(live: Live) -> None:
    began_s = time.monotonic()
    while (left := [command_of(n) for n in live.processes()]) and time.monotonic() < began_s + 5:
        time.sleep(0.05)
    assert left == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_its_processes_ends_it_in_order(
    start: Any, clip: Path, number: signal.Signals
) -> None:
    live = start(config(clip, "door", "hall", play="loop", fps=4.0))
    live.until(lambda: len(live.rows("SELECT id FROM observations")) >= 10)
    os.killpg(live.process.pid, number)
    code, took_s, out = ended(live)
    assert code == 0, live.said
    assert took_s < SOON_S
    result = json.loads(out.splitlines()[-1])
    assert result["events"]["waiting"] == result["events"]["lost"] == result["deaths"] == 0
    nothing_is_left(live)
    assert {row[0] for row in live.rows("SELECT phase FROM tracks")} == {"end"}
    told = live.rows("SELECT sum(observations) FROM tracks")[0][0]
    assert told == live.rows("SELECT count(*) FROM observations")[0][0]
    assert "Fatal" not in live.said
    assert "SIGTERM" not in live.said


@pytest.mark.parametrize("stage", ["", "gcs_server", "raylet/raylet", "ray::"])
def test_a_signal_while_it_starts_ends_it_too(start: Any, clip: Path, stage: str) -> None:
    live = start(config(clip, "door", play="loop"))
    live.until(lambda: any(stage in command_of(number) for number in live.processes()))
    os.killpg(live.process.pid, signal.SIGTERM)
    code, took_s, _ = ended(live)
    # Before our first line is read, the interpreter ends as signals end processes.
    assert code == 0 or (code == -signal.SIGTERM and not stage), live.said
    assert took_s < SOON_S
    assert all(line[2:3] == ":" for line in live.said.splitlines()), live.said
    assert not stage or live.said.splitlines()[-1].endswith("stopped before it had started")
    nothing_is_left(live)


@pytest.mark.parametrize(
    ("part", "name"),
    [("raylet/raylet", "its part on this machine (raylet)"), ("gcs_server", "its head")],
)
def test_a_ray_that_has_lost_a_part_is_noticed_and_nothing_is_lost(
    start: Any, clip: Path, part: str, name: str
) -> None:
    live = start(config(clip, "door", fps=4.0), "--until-ended")
    live.until(lambda: len(live.rows("SELECT id FROM observations")) >= 10)
    for process in live.processes():
        if command_of(process).split("\0")[0].endswith(part):
            os.kill(process, signal.SIGKILL)
    code, took_s, _ = ended(live)
    assert code == 4, live.said
    assert took_s < SOON_S
    last = live.said.splitlines()[-1]
    assert last.startswith(f"undercam: Ray has ended: {name}")
    assert sum(line.startswith("undercam: ") for line in live.said.splitlines()) == 1
    nothing_is_left(live)
    again = start(config(clip, "door", fps=4.0), "--until-ended")
    again.end()
    check_rows(again, clip, "door")
    assert waiting(again) == 0
