"""Live cameras on one machine: how many it carries, frames by fate, latency from capture to row.

    python -m benchmarks.streams [--cameras 4,8,16] [--film faces|empty] [--seconds 30] [--fps 5]
                                 [--against FOLDER] [--engine ray|local] [--json]

A GStreamer RTSP server (Debian's, run by the system's Python) serves each camera a film of its own,
1280 x 720 at 25 frames a second, the same scene from another time on; `undercam run` reads them.
All figures come from stored rows, /metrics and the CPU time that the kernel counts. A number of
cameras is carried if each is analysed at 0.97 of --fps, the 99th percentile of the time from
capture to row is below a second and no frame is missing from the counts. Beside it: the CPU time
of the bare kernels (decoder and networks), called as often. --against: another checkout, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import save_result
from benchmarks.stream_films import write_films, write_scene
from benchmarks.stream_kernels import measure_kernels, sum_kernels

ROOT = Path(__file__).parents[1]
SERVER = Path(__file__).with_name("stream_server.py")
START_TIMEOUT_S, SETTLE_S, END_TIMEOUT_S = 120.0, 5.0, 60.0
"""Longest time for all cameras to come online; time from then on that is not measured."""
KEPT_SHARE, MOST_MS = 0.97, 1000
"""Of a carried camera: least share of --fps, and largest p99 from capture to row."""
MARK = "STREAMS_BENCHMARK"
TICKS = os.sysconf("SC_CLK_TCK")


def configuration(port: int, cameras: int, fps: float, engine: str) -> str:
    """The text of a TOML file with so many cameras on one server."""
    tables = [
        f'[cameras.cam{number}]\nurl = "rtsp://127.0.0.1:{port}/cam{number}"\n'
        for number in range(cameras)
    ]
    common = f'[source]\nanalyse_fps = {fps}\n[metrics]\nport = 0\n[cluster]\nengine = "{engine}"\n'
    return "".join(tables) + common


def scrape(errors: Path) -> Counter[tuple[str, str]]:
    """The counters of /metrics by name and camera; of `frames_searched` by extent as well. What
    counts no camera has the camera ""."""
    from prometheus_client.parser import text_string_to_metric_families

    lines = errors.read_text(encoding="utf-8").splitlines()
    url = next(line.split()[-1] for line in lines if "metrics: http" in line)
    with urllib.request.urlopen(url, timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: Counter[tuple[str, str]] = Counter()
    for family in families:
        for sample in family.samples:
            name = sample.name.removeprefix("undercam_").removesuffix("_total")
            name += f"_{sample.labels['extent']}" if "extent" in sample.labels else ""
            if sample.name.endswith(("_total", "_sum", "_count")):
                found[name, sample.labels.get("camera", "")] += sample.value  # type: ignore[assignment]
    return found


def cpu_seconds(mark: str) -> float:
    """CPU time so far of all processes that were started under a mark."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        except (OSError, ValueError):  # it has ended
            continue
    return total / TICKS


@contextmanager
def serve(films: list[Path], mark: str) -> Iterator[int]:
    """The port of a server of films."""
    command = ["/usr/bin/python3", str(SERVER), *map(str, films)]
    environment = os.environ | {MARK: mark}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()


@contextmanager
def run_cameras(tree: Path, folder: Path, text: str, cameras: int, mark: str) -> Iterator[Path]:
    """`undercam run` of a checkout until the block ends, all cameras online; what it says."""
    (folder / "f.toml").write_text(text, encoding="utf-8")
    errors = folder / "stderr"
    command = [sys.executable, "-m", "pipeline", "run", "-c", "f.toml", "--json"]
    environment = os.environ | {"PYTHONPATH": str(tree), MARK: mark}
    with errors.open("w") as stderr, (folder / "stdout").open("w") as stdout:
        process = subprocess.Popen(
            command, cwd=folder, stdout=stdout, stderr=stderr, env=environment
        )
    try:
        begin_s = time.monotonic()
        while errors.read_text(encoding="utf-8").count(": online") < cameras:
            if process.poll() is not None or time.monotonic() - begin_s > START_TIMEOUT_S:
                output = errors.read_text(encoding="utf-8")
                raise SystemExit(f"the cameras did not come online:\n{output}")
            time.sleep(0.2)
        yield errors
    finally:
        process.terminate()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def measure(tree: Path, scene: Path, cameras: int, given: argparse.Namespace) -> dict[str, Any]:
    """The figures of one checkout with so many cameras."""
    ours, servers = uuid.uuid4().hex, uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = write_films(scene, folder, cameras, given.seconds + START_TIMEOUT_S)
        with serve(films, servers) as port:
            text = configuration(port, cameras, given.fps, given.engine)
            with run_cameras(tree, folder, text, cameras, ours) as errors:
                time.sleep(SETTLE_S)
                before, began_s, began_ms = scrape(errors), time.monotonic(), time.time() * 1000
                cpu_s = [cpu_seconds(ours), cpu_seconds(servers)]
                time.sleep(given.seconds)
                after, took_s = scrape(errors), time.monotonic() - began_s
                cpu_s = [
                    now - then
                    for now, then in zip(map(cpu_seconds, (ours, servers)), cpu_s, strict=True)
                ]
        delays = read_delays(folder / "state" / "undercam.db", began_ms)
    counts = Counter({key: after[key] - before[key] for key in after})
    return summarise(counts, after, delays, took_s, given.fps) | {
        "cores": round(cpu_s[0] / took_s, 3),
        "server_cores": round(cpu_s[1] / took_s, 3),
        "cpu_s": cpu_s[0],
    }


def read_delays(database: Path, began_ms: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Milliseconds from capture to row of every observation captured since then."""
    query = "SELECT stored_ms - captured_ms FROM observations WHERE captured_ms >= ?"
    with sqlite3.connect(database) as connection:
        return np.array(connection.execute(query, (began_ms,)).fetchall(), np.int64).ravel()


def summarise(
    counts: Counter[tuple[str, str]],
    totals: Counter[tuple[str, str]],
    delays: np.ndarray[Any, np.dtype[np.int64]],
    took_s: float,
    fps: float,
) -> dict[str, Any]:
    """Rates, latency and what became of the frames; `counts` are those of `took_s` seconds."""
    cameras = sorted({camera for name, camera in totals if name == "frames_analysed"})
    rates = [counts["frames_analysed", camera] / took_s for camera in cameras]

    def total(name: str) -> int:
        return int(sum(value for (key, _), value in counts.items() if key == name))

    # Frames under way are in no count yet: one a camera that waits, one that is analysed.
    names = ("analysed", "skipped", "shed")
    missing = [
        totals["frames_received", camera] - sum(totals[f"frames_{n}", camera] for n in names)
        for camera in cameras
    ]
    p50, p99 = np.percentile(delays, [50, 99]).tolist() if len(delays) else (0.0, 0.0)
    uncounted = int(max(missing, default=0) > 2)
    return {
        "fps": {"least": round(min(rates), 2), "mean": round(float(np.mean(rates)), 2)},
        "analysed": total("frames_analysed"),
        "decoded": total("frames_decoded"),
        "shed": total("frames_shed"),
        "uncounted": uncounted,
        "searched": {how: total(f"frames_searched_{how}") for how in ("whole", "part", "none")},
        "observations": total("observations"),
        "capture_to_row_ms": {"p50": round(p50), "p99": round(p99)},
        "carried": bool(min(rates) >= KEPT_SHARE * fps and p99 < MOST_MS and not uncounted),
    }


def add_floor(found: dict[str, Any], kernels: dict[str, float]) -> None:
    """Add the CPU time of the bare kernels, called as often, and what was used beyond it."""
    searched = dict(found["searched"])
    searched.pop("none")
    if not any(searched.values()):  # a checkout that searches every frame whole
        searched = {"whole": found["analysed"], "part": 0}
    faces = {"classify": found["observations"]}
    floor_s = sum_kernels(kernels, {"decode": found["decoded"], **searched, **faces})
    found["kernels_s"] = round(floor_s, 2)
    found["overhead"] = round(found.pop("cpu_s") / floor_s - 1, 3) if floor_s else None


def main() -> None:
    """Measure, print, and save the result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streams",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cameras", default="4")
    parser.add_argument("--film", default="faces", choices=("faces", "empty"))
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--engine", default="ray", choices=("ray", "local"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    trees = {"this": ROOT} | ({"against": given.against.resolve()} if given.against else {})
    rows = []
    with tempfile.TemporaryDirectory() as name:
        scene = Path(name) / "scene.mkv"
        write_scene(scene, given.film)
        kernels = measure_kernels(scene)
        for cameras in map(int, given.cameras.split(",")):
            for tree, path in trees.items():
                found = {"tree": tree, "cameras": cameras} | measure(path, scene, cameras, given)
                add_floor(found, kernels)
                rows.append(found)
                if not given.json:
                    print(json.dumps(found), flush=True)
    figures = {
        "film": given.film,
        "engine": given.engine,
        "fps": given.fps,
        "seconds": given.seconds,
        "kernels_ms": {kernel: round(ms, 2) for kernel, ms in kernels.items()},
        "load": round(os.getloadavg()[0], 1),
        "rows": rows,
    }
    result = save_result(f"streams-{given.film}", figures)
    if given.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        print(json.dumps({key: value for key, value in figures.items() if key != "rows"}))


if __name__ == "__main__":
    main()
