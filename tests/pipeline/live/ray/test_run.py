"""`undercam run` as a command: rows are exact, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import random
import resource
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.clock import wall_clock

ROOT = Path(__file__).parents[4]
WALL_CLOCK = {"classified_ms", "published_ms", "received_ms", "stored_ms"}
BACK_S = 10.0


def undercam(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """A command in the same folder; what it printed as JSON."""
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert ended.returncode == code, ended.stderr
    return json.loads(ended.stdout) if ended.stdout else {"stderr": ended.stderr}


def expected(folder: Path, clip: Path, camera: str) -> list[dict[str, Any]]:
    """The events that `analyze` makes of a clip."""
    undercam(
        folder,
        *("analyze", str(clip), "--camera", camera, "-c", "undercam.toml"),
        *("--events", f"{camera}.jsonl"),
    )
    lines = (folder / f"{camera}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def check_rows(live: Any, clip: Path, camera: str) -> None:
    """Rows are what `analyze` says, each once, nothing missing."""
    events = expected(live.folder, clip, camera)
    wanted = {event["id"]: event for event in events if "face_observed" in event["schema"]}
    columns = "id, track, frame, pts_ms, captured_ms, x0, y1, label, smoothed_label, p_happiness"
    rows = live.rows(f"SELECT {columns} FROM observations WHERE camera = '{camera}'")
    assert {row[0] for row in rows} == wanted.keys()
    for key, track, frame, pts_ms, captured_ms, x0, y1, label, smoothed, happiness in rows:
        look = wanted[key]
        assert [track, frame, pts_ms, captured_ms, x0, y1, label, smoothed] == [
            *(look[name] for name in ("track", "frame", "pts_ms", "captured_ms")),
            *(look["box"][0], look["box"][3], look["label"], look["smoothed"]["label"]),
        ]
        # A pass that others share may round otherwise in the last digit.
        assert happiness == pytest.approx(look["probabilities"]["happiness"], abs=2e-6)
    told = live.rows(
        f"SELECT id, phase, ended_ms, observations FROM tracks WHERE camera = '{camera}'"
    )
    ends = (event for event in events if event.get("phase") == "end")
    assert sorted(told) == sorted(
        (end["id"], "end", end["ended_ms"], end["observations"]) for end in ends
    )


def lines_of(live: Any) -> list[str]:
    """What it said, but for what a busy machine lets it wait for."""
    return [line for line in live.said.splitlines() if " waiting for " not in line]


def config(clip: Path | str, *cameras: str, play: str = "once", fps: float = 2.0) -> str:
    tables = "".join(f'[cameras.{camera}]\nurl = "{clip}"\nplay = "{play}"\n' for camera in cameras)
    return f"{tables}[source]\nanalyse_fps = {fps}\n[metrics]\nport = 0\n"


@pytest.mark.parametrize("engine", ["ray", "local"])
def test_two_files_become_the_rows_that_analyze_makes(start: Any, clip: Path, engine: str) -> None:
    live = start(config(clip, "door", "hall"), "--until-ended", "--engine", engine)
    result = live.end()
    assert result["ok"]
    assert result["deaths"] == 0
    assert {camera["state"] for camera in result["cameras"].values()} == {"ended"}
    assert result["events"]["waiting"] == result["events"]["lost"] == 0
    for camera in ("door", "hall"):
        check_rows(live, clip, camera)
    assert list((live.folder / "state" / "outbox").glob("*.outbox")) == []


@pytest.mark.parametrize("engine", ["ray", "local"])
def test_weights_that_are_not_there_end_it_at_once(start: Any, clip: Path, engine: str) -> None:
    live = start(
        config(clip, "door") + '[emotion.routes.fast]\nweights = "nobodys"\n', "--engine", engine
    )
    live.process.communicate(timeout=90)
    assert live.process.returncode == 5
    (line,) = lines_of(live)
    assert line.startswith("undercam: no such weights")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "local"])
def test_a_detector_that_cannot_be_used_is_said_and_the_file_is_not_called_read(
    start: Any, clip: Path, engine: str
) -> None:
    live = start(
        config(clip, "door") + '[detector]\nname = "yunet"\nmodel = "none.onnx"\n',
        *("--until-ended", "--engine", engine),
    )
    out, _ = live.process.communicate(timeout=90)
    assert live.process.returncode == 3
    assert not json.loads(out.splitlines()[-1])["ok"]
    assert "door: failed: " in live.said
    assert "none.onnx" in live.said
    assert live.said.splitlines()[-1].startswith("undercam: not read to their end: door")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "local"])
def test_a_port_that_is_taken_is_one_clear_line(start: Any, clip: Path, engine: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken_port = config(clip, "door").replace("port = 0", f"port = {port}")
        live = start(taken_port, "--engine", engine)
        live.process.communicate(timeout=90)
    assert live.process.returncode == 4
    (line,) = lines_of(live)
    assert line.startswith("undercam: metrics cannot be served (Address already in use): 127.")


@pytest.mark.slow
def test_whatever_is_killed_the_rows_of_a_file_are_exact(start: Any, clip: Path) -> None:
    live = start(config(clip, "door", "hall", fps=4.0), "--until-ended")

    def rows() -> int:
        return len(live.rows("SELECT id FROM observations"))

    for step, victim in enumerate(
        ("CamerasActor", "PoolActor", "RelayActor", "SupervisorActor", "CamerasActor")
    ):
        live.until(lambda least=10 * (step + 1): rows() >= least)
        live.kill(victim)
    result = live.end()
    assert {camera["state"] for camera in result["cameras"].values()} == {"ended"}, live.said
    for camera in ("door", "hall"):
        check_rows(live, clip, camera)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [16])
def test_rows_are_exact_after_rounds_of_kills_drawn_by_chance(
    start: Any, clip: Path, seed: int
) -> None:
    chance = random.Random(seed)
    actors = ("CamerasActor", "PoolActor", "RelayActor", "SupervisorActor")
    wanted = config(clip, "door", "hall", fps=4.0)
    live = start(wanted, "--until-ended")

    def rows() -> int:
        return len(live.rows("SELECT id FROM observations"))

    for least in range(10, 60, 10):
        some = least + chance.randrange(8)
        live.until(lambda some=some: rows() >= some)
        for victim in chance.sample((*actors, "command"), k=chance.choice((1, 2))):
            if victim == "command":
                live.process.kill()
                live.process.communicate()
                live = start(wanted, "--until-ended")
            elif live.actors(victim):  # else it has not yet come back from its last death
                live.kill(victim)
    live.end()
    for camera in ("door", "hall"):
        check_rows(live, clip, camera)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_live_cameras_are_back_soon_and_neighbours_keep_their_pace(start: Any, clip: Path) -> None:
    names = ("a", "b", "c", "d", "e")
    fives = config(clip, *names, play="loop", fps=2.0)
    live = start(fives + "[workers]\ncameras_per_worker = 3\n")

    def told(query: str) -> dict[str, int]:
        return dict(live.rows(f"SELECT camera, {query} GROUP BY camera"))

    def all_go_on() -> float:
        """Until every camera has told its state anew; how long the last one took."""
        now_ms = wall_clock()

        def newest() -> dict[str, int]:
            return told("max(stored_ms) FROM camera_status")

        return live.until(
            lambda: all(newest().get(name, 0) > now_ms for name in names), BACK_S + 20
        )

    all_go_on()
    for victim in ("SupervisorActor", "PoolActor", "RelayActor"):
        live.kill(victim)
        assert all_go_on() < BACK_S, victim
    assert set(told("count(DISTINCT run) FROM camera_status").values()) == {1}  # none began anew
    live.kill("CamerasActor", 1)
    assert all_go_on() < BACK_S
    runs = told("count(DISTINCT run) FROM camera_status")
    result = live.stop()
    assert result["deaths"] == 1
    assert 2 <= sum(count == 2 for count in runs.values()) <= 3  # those of one process
    paces = live.rows(
        "SELECT camera, fps FROM camera_status WHERE state = 'online' AND fps > 0 ORDER BY seq"
    )
    kept = {name: [fps for camera, fps in paces if camera == name] for name in names}
    for name in (name for name, count in runs.items() if count == 1):
        assert np.median(kept[name]) == pytest.approx(2.0, rel=0.05)
    duplicated = "SELECT count(*) - count(DISTINCT camera || run || track || frame)"
    assert live.rows(f"{duplicated} FROM observations") == [(0,)]


@pytest.mark.slow
def test_a_command_that_is_killed_is_taken_up_by_the_next(start: Any, clip: Path) -> None:
    live = start(config(clip, "door", fps=4.0), "--until-ended")
    live.until(lambda: len(live.rows("SELECT id FROM observations")) >= 10)
    live.process.kill()
    live.process.communicate()
    again = start(config(clip, "door", fps=4.0), "--until-ended")
    again.end()
    check_rows(again, clip, "door")


@pytest.mark.slow
def test_cameras_come_and_go_while_it_runs_and_its_numbers_are_shown(
    start: Any, clip: Path
) -> None:
    live = start(config(clip, "door", play="loop", fps=2.0))

    def cameras(command: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        return undercam(
            live.folder, "cameras", command, *arguments, "-c", "undercam.toml", code=code
        )

    def states() -> dict[str, str]:
        return {name: camera["state"] for name, camera in cameras("list")["cameras"].items()}

    live.until(lambda: states().get("door") == "online")
    cameras("add", "hall", str(clip), "--play", "loop", "--fps", "1")
    live.until(lambda: states().get("hall") == "online")
    cameras("set", "door", "--disable")
    live.until(lambda: states()["door"] == "disabled")
    cameras("remove", "hall")
    live.until(lambda: "hall: no longer read" in live.said)
    for wrong in (("add", "hall2", "rtsp://a:s3cret@b/c"), ("remove", "hall"), ("add", "No", "x")):
        assert "s3cret" not in cameras(*wrong, code=2)["stderr"]
    (url,) = (line.split()[-1] for line in live.said.splitlines() if "metrics: http" in line)
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    for name in ("frames_decoded_total", "pool_batch_seconds_count", "outbox_delivered_total"):
        assert f"undercam_{name}{{" in text
    assert live.stop()["ok"]


@pytest.mark.slow
def test_what_a_full_disk_takes_at_the_end_is_said_and_a_gap(start: Any, clip: Path) -> None:
    live = start(config(clip, "door", play="loop", fps=4.0))
    live.until(lambda: live.rows("SELECT id FROM observations"))
    (camera,) = live.actors("CamerasActor")
    outbox = live.folder / "state" / "outbox"
    full = max(path.stat().st_size for path in outbox.iterdir())
    resource.prlimit(camera, resource.RLIMIT_FSIZE, (full, full))
    live.until(lambda: "check its disk" in live.said)
    live.process.terminate()
    out, _ = live.process.communicate(timeout=90)
    assert live.process.returncode == 4, live.said
    assert live.said.splitlines()[-1].startswith("undercam: events were lost at the end: door: ")
    result = json.loads(out.splitlines()[-1])
    (line,) = result["not_written"]
    assert "events could not be written and are lost" in line
    assert line in live.said
    assert (result["ok"], result["events"]["lost"]) == (False, int(line.split()[1]))
    told = live.rows("SELECT camera, events, reason FROM gaps")
    assert told == [("door", int(line.split()[1]), "outbox could not be written")]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_commands_never_read_one_camera(start: Any, clip: Path) -> None:
    first = start(config(clip, "door", play="loop", fps=2.0))
    first.until(lambda: "door: online" in first.said)
    beside = start(config(clip, "door"))
    beside.process.communicate(timeout=90)
    assert beside.process.returncode == 4
    (line,) = (line for line in beside.said.splitlines() if line.startswith("undercam: another"))
    assert f"pid {first.process.pid} on " in line

    shared = f'[store]\nurl = "sqlite:///{first.database}"\n'
    second = start(config(clip, "door", play="loop", fps=2.0) + shared, inside="second")
    second.until(lambda: "door: connecting: another command reads it: pid" in second.said)
    assert f"pid {first.process.pid} on " in second.said

    def runs() -> list[Any]:
        return first.rows("SELECT DISTINCT run FROM camera_status")

    (only,) = runs()
    first.process.kill()
    first.process.communicate()
    took_s = second.until(lambda: "door: online" in second.said)
    assert 3 < took_s < 20
    second.until(lambda: len(runs()) == 2)
    spans = first.rows("SELECT run, min(since_ms), max(stored_ms) FROM camera_status GROUP BY run")
    ends = {run: (began, ended) for run, began, ended in spans}
    (later,) = ends.keys() - {only[0]}
    assert ends[later][0] > ends[only[0]][1]
    assert second.stop()["ok"]
    assert first.rows("SELECT * FROM camera_leases") == []
