"""Live cameras side by side: pace, frames of every kind, and the time from capture to row.

    python -m benchmarks.streams [--cameras 4] [--seconds 60] [--fps 5] [--json]

Serves real faces at 1280 x 720 and 25 pictures a second from a GStreamer RTSP server (Debian's, run
by the system's Python), reads it with `undercam run`, and takes every figure from the rows and from
/metrics.
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

from benchmarks.kept import keep

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "tests" / "pipeline" / "stages" / "source" / "rtsp_server.py"
WIDTH, HEIGHT, FPS = 1280, 720, 25
WARM_S = 60.0
"""What the processes may take to start."""


def film(folder: Path, seconds: float) -> Path:
    """The built-in sample in 720p, again and again, for so long."""
    import cv2

    from pipeline.media.sample_clip import SCRIPT_S, write_sample
    from pipeline.media.video import VideoWriter
    from pipeline.stages.source.file import VideoSource

    sample, path = folder / "sample.mp4", folder / "film.mkv"
    write_sample(sample)
    shown, pts_s = 0, 0.0
    with VideoWriter(path, WIDTH, HEIGHT, FPS, crf=23) as writer:
        while pts_s < seconds:
            with VideoSource(sample, "film", "e0") as source:
                for frame in source:
                    pts_s = shown * SCRIPT_S + frame.header.pts_s
                    picture = cv2.resize(frame.image, (WIDTH, HEIGHT))
                    writer.write(picture.astype(np.uint8), pts_s)
            shown += 1
    return path


def configuration(port: int, cameras: int, fps: float) -> str:
    """A TOML file for so many viewers of one server."""
    tables = [
        f'[cameras.cam{number}]\nurl = "rtsp://127.0.0.1:{port}/clip"\n'
        for number in range(cameras)
    ]
    return "".join(tables) + f"[source]\nanalyse_fps = {fps}\n[metrics]\nport = 0\n"


def scraped(errors: Path) -> dict[str, Counter[str]]:
    """What Prometheus would see: counters by camera, those of causes added up."""
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


def watched(folder: Path, port: int, cameras: int, seconds: float, fps: float) -> dict[str, Any]:
    """Run it for a while; the counters at the end, analysed frames a second, what it printed."""
    (folder / "f.toml").write_text(configuration(port, cameras, fps), encoding="utf-8")
    errors = folder / "stderr"
    command = [sys.executable, "-m", "pipeline", "run", "-c", "f.toml", "--json"]
    with errors.open("w") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    begin_s = time.monotonic()
    while errors.read_text(encoding="utf-8").count(": online") < cameras:
        if process.poll() is not None or time.monotonic() - begin_s > WARM_S:
            process.kill()
            raise SystemExit(f"it did not come up:\n{errors.read_text(encoding='utf-8')}")
        time.sleep(0.2)
    before, began_s = scraped(errors), time.monotonic()
    time.sleep(seconds)
    counters, took_s = scraped(errors), time.monotonic() - began_s
    paces = {
        camera: (counts["frames_analysed"] - before[camera]["frames_analysed"]) / took_s
        for camera, counts in counters.items()
    }
    process.terminate()
    out, _ = process.communicate(timeout=60)
    return {"counters": counters, "paces": paces, "result": json.loads(out)}


def figures(
    database: Path, counters: dict[str, Counter[str]], paces: dict[str, float]
) -> dict[str, Any]:
    """From the rows themselves: latency, clock; from the counters: frames of every kind."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT stored_ms - captured_ms, clock FROM observations")
        told = rows.fetchall()
    delays = np.array([delay for delay, _ in told])
    clocks = Counter(clock for _, clock in told)
    cameras = {
        camera: {
            "decoded": counts["frames_decoded"],
            "analysed": counts["frames_analysed"],
            "undue": counts["frames_undue"],
            "shed": counts["frames_shed"],
            "uncounted": counts["frames_decoded"]
            - counts["frames_analysed"]
            - counts["frames_undue"]
            - counts["frames_shed"],
            "fps": round(paces[camera], 2),
        }
        for camera, counts in sorted(counters.items())
    }
    p50, p99, most = np.percentile(delays, [50, 99, 100]).round().astype(int).tolist()
    return {
        "rows": len(told),
        "clocks": dict(clocks),
        "capture_to_row_ms": {"p50": p50, "p99": p99, "max": most},
        "cameras": cameras,
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = film(folder, given.seconds + WARM_S)
        server = subprocess.Popen(
            ["/usr/bin/python3", str(SERVER), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout
        try:
            port = int(server.stdout.readline())
            seen = watched(folder, port, given.cameras, given.seconds, given.fps)
        finally:
            server.kill()
        found = figures(folder / "state" / "undercam.db", seen["counters"], seen["paces"])
    kept = keep("streams", vars(given) | found | {"ended": seen["result"]})
    if given.json:
        sys.stdout.write(json.dumps(kept) + "\n")
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
