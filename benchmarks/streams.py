"""Live cameras on one machine: frame rate, skipped and shed frames, latency from capture to row.

    python -m benchmarks.streams [--cameras 4] [--seconds 60] [--fps 5] [--json]

A GStreamer RTSP server (Debian's, run by the system's Python) serves real faces at 1280 x 720 and
25 frames per second; `undercam run` reads it. All figures come from stored rows and /metrics.
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
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import save_result

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "tests" / "pipeline" / "stages" / "source" / "rtsp_server.py"
WIDTH, HEIGHT, FPS = 1280, 720, 25
START_TIMEOUT_S = 60.0
"""Longest time for all cameras to come online."""


def write_film(folder: Path, seconds: float) -> Path:
    """Repeat the built-in sample in 720p for so many seconds."""
    import cv2

    from pipeline.media.sample_clip import SCRIPT_S, write_sample
    from pipeline.media.video import VideoWriter
    from pipeline.stages.source.file import VideoSource

    sample, path = folder / "sample.mp4", folder / "film.mkv"
    write_sample(sample)
    repeats, pts_s = 0, 0.0
    with VideoWriter(path, WIDTH, HEIGHT, FPS, crf=23) as writer:
        while pts_s < seconds:
            with VideoSource(sample, "film", "e0") as source:
                for frame in source:
                    pts_s = repeats * SCRIPT_S + frame.header.pts_s
                    image = cv2.resize(frame.image, (WIDTH, HEIGHT))
                    writer.write(image.astype(np.uint8), pts_s)
            repeats += 1
    return path


def configuration(port: int, cameras: int, fps: float) -> str:
    """The text of a TOML file with so many cameras on one server."""
    tables = [
        f'[cameras.cam{number}]\nurl = "rtsp://127.0.0.1:{port}/clip"\n'
        for number in range(cameras)
    ]
    return "".join(tables) + f"[source]\nanalyse_fps = {fps}\n[metrics]\nport = 0\n"


def scrape(errors: Path) -> dict[str, Counter[str]]:
    """The counters of /metrics by camera, summed over causes."""
    from prometheus_client.parser import text_string_to_metric_families

    lines = errors.read_text(encoding="utf-8").splitlines()
    url = next(line.split()[-1] for line in lines if "metrics: http" in line)
    with urllib.request.urlopen(url, timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: dict[str, Counter[str]] = {}
    for family in families:
        for sample in family.samples:
            if "camera" in sample.labels and sample.name.endswith("_total"):
                counts = found.setdefault(sample.labels["camera"], Counter())
                name = sample.name.removeprefix("undercam_").removesuffix("_total")
                counts[name] += round(sample.value)
    return found


def run_cameras(
    folder: Path, port: int, cameras: int, seconds: float, fps: float
) -> dict[str, Any]:
    """Run `undercam run` for a while; its counters, analysed frames per second, and summary."""
    (folder / "f.toml").write_text(configuration(port, cameras, fps), encoding="utf-8")
    errors = folder / "stderr"
    command = [sys.executable, "-m", "pipeline", "run", "-c", "f.toml", "--json"]
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    begin_s = time.monotonic()
    while errors.read_text(encoding="utf-8").count(": online") < cameras:
        if process.poll() is not None or time.monotonic() - begin_s > START_TIMEOUT_S:
            process.kill()
            raise SystemExit(
                f"the cameras did not come online:\n{errors.read_text(encoding='utf-8')}"
            )
        time.sleep(0.2)
    before, began_s = scrape(errors), time.monotonic()
    time.sleep(seconds)
    counters, took_s = scrape(errors), time.monotonic() - began_s
    rates = {
        camera: (counts["frames_analysed"] - before[camera]["frames_analysed"]) / took_s
        for camera, counts in counters.items()
    }
    process.terminate()
    out, _ = process.communicate(timeout=60)
    return {"counters": counters, "rates": rates, "result": json.loads(out)}


def summarise(
    database: Path, counters: dict[str, Counter[str]], rates: dict[str, float]
) -> dict[str, Any]:
    """Latency and clocks from the rows, frames by fate from the counters."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT stored_ms - captured_ms, clock FROM observations")
        observations = rows.fetchall()
    delays = np.array([delay for delay, _ in observations])
    clocks = Counter(clock for _, clock in observations)
    cameras = {
        camera: {
            "decoded": counts["frames_decoded"],
            "analysed": counts["frames_analysed"],
            "skipped": counts["frames_skipped"],
            "shed": counts["frames_shed"],
            "uncounted": counts["frames_decoded"]
            - counts["frames_analysed"]
            - counts["frames_skipped"]
            - counts["frames_shed"],
            "fps": round(rates[camera], 2),
        }
        for camera, counts in sorted(counters.items())
    }
    p50, p99, most = np.percentile(delays, [50, 99, 100]).round().astype(int).tolist()
    return {
        "rows": len(observations),
        "clocks": dict(clocks),
        "capture_to_row_ms": {"p50": p50, "p99": p99, "max": most},
        "cameras": cameras,
    }


def main() -> None:
    """Measure, print, and save the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_film(folder, options.seconds + START_TIMEOUT_S)
        server = subprocess.Popen(
            ["/usr/bin/python3", str(SERVER), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout
        try:
            port = int(server.stdout.readline())
            measured = run_cameras(folder, port, options.cameras, options.seconds, options.fps)
        finally:
            server.kill()
        found = summarise(folder / "state" / "undercam.db", measured["counters"], measured["rates"])
    result = save_result("streams", vars(options) | found | {"ended": measured["result"]})
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    clocks = ", ".join(f"{clock} {rows}" for clock, rows in found["clocks"].items())
    print(f"{found['rows']} rows, clocks: {clocks or 'none'}")
    print(
        "capture to row, ms: p50 {p50}, p99 {p99}, max {max}".format(**found["capture_to_row_ms"])
    )
    for camera, counts in found["cameras"].items():
        print(camera, ", ".join(f"{name} {value}" for name, value in counts.items()))


if __name__ == "__main__":
    main()
