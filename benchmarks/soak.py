"""Resources that a reconnect leaks: python -m benchmarks.soak [--reconnects 200] [--json]

A GStreamer RTSP server (Debian's, run by the system's Python) closes the connection every half a
second. The memory, file descriptors and threads of this process are recorded after each reconnect;
the slope of memory is fitted to all but the first tenth, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import save_result
from pipeline.settings import SourceSettings

SERVER = Path(__file__).parents[1] / "tests" / "pipeline" / "stages" / "source" / "rtsp_server.py"
WIDTH, HEIGHT, FPS = 1280, 720, 25
DISCONNECT_S = 0.5
FAST_RETRIES = SourceSettings(retry_min_s=0.01, retry_max_s=0.05)
MAX_SLOPE_KB = 10.0
"""Slope that counts as flat, kB per reconnect: a thousand reconnects cost less than 10 MB."""


def write_noise_clip(path: Path) -> None:
    """Ten seconds of noise, so that every frame takes several packets."""
    import cv2

    from pipeline.media.video import VideoWriter

    rng = np.random.default_rng(0)
    with VideoWriter(path, WIDTH, HEIGHT, FPS, crf=30) as writer:
        for _ in range(10 * FPS):
            small = rng.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
            writer.write(cv2.resize(small, (WIDTH, HEIGHT)).astype(np.uint8))


def read_usage() -> tuple[float, int, int]:
    """Resident memory in kB, file descriptors, and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory_kb = pages * os.sysconf("SC_PAGE_SIZE") / 1024
    return memory_kb, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def measure_usage(url: str, reconnects: int) -> tuple[list[tuple[float, int, int]], int]:
    """The usage at the first frame after each reconnect, and the number of frames decoded."""
    from pipeline.frames import ConnectionState
    from pipeline.stages.source.live import LiveSource

    used: list[tuple[float, int, int]] = []
    with LiveSource(url, "door", "e1", FAST_RETRIES) as source:
        for seen in source:
            if not isinstance(seen, ConnectionState) and source.counts().reconnects > len(used):
                used.append(read_usage())
                if sys.stderr.isatty():
                    print(f"\r{len(used)}/{reconnects}", end="", file=sys.stderr)
            if len(used) >= reconnects:
                break
        return used, source.counts().decoded


def summarise(used: list[tuple[float, int, int]]) -> dict[str, Any]:
    """Slope of memory with its interval, and the range of descriptors and threads."""
    from scipy import stats

    memory, files, threads = (np.array(column) for column in zip(*used, strict=True))
    later = slice(len(used) // 10, None)
    count = np.arange(len(used))[later]
    fit = stats.linregress(count, memory[later])
    slope = float(fit.slope)
    margin = float(stats.t.ppf(0.975, len(count) - 2) * fit.stderr)
    return {
        "reconnects": len(used),
        "memory_mb": [round(float(memory[i]) / 1024, 1) for i in (0, -1)],
        "slope_kb": round(slope, 2),
        "slope_kb_interval": [round(slope - margin, 2), round(slope + margin, 2)],
        "files": [int(files[later].min()), int(files[later].max())],
        "threads": [int(threads[later].min()), int(threads[later].max())],
        "ok": bool(
            slope + margin < MAX_SLOPE_KB
            and np.ptp(files[later]) <= 2
            and np.ptp(threads[later]) <= 2
        ),
    }


def main() -> int:
    """Measure, print, and save the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reconnects", type=int, default=200, help="20 or more")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "noise.mkv"
        write_noise_clip(clip)
        command = ["/usr/bin/python3", str(SERVER), str(clip), "--hang-up", str(DISCONNECT_S)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout
                url = f"rtsp://127.0.0.1:{int(server.stdout.readline())}/clip"
                used, decoded = measure_usage(url, options.reconnects)
            finally:
                server.kill()
    result = save_result("soak", {"frame": [WIDTH, HEIGHT], "decoded": decoded, **summarise(used)})
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            print(f"{name:>20}  {text}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
