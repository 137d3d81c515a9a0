"""What reconnecting leaves behind: python -m benchmarks.soak [--reconnects 200] [--json]

A GStreamer RTSP server (Debian's, run by the system's Python) hangs up on its viewer every half a
second. After each reconnect the memory, file descriptors and threads of this process are noted; the
slope of memory is fitted to all but the first tenth, with its 95 % interval.
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
HANG_UP_S = 0.5
HASTY = SourceSettings(retry_min_s=0.01, retry_max_s=0.05)
MOST_KB = 10.0
"""A slope below this is called flat, kB a reconnect: a thousand of them cost less than 10 MB."""


def film(path: Path) -> None:
    """Ten seconds of noise, so that every picture costs packets."""
    import cv2

    from pipeline.media.video import VideoWriter

    rng = np.random.default_rng(0)
    with VideoWriter(path, WIDTH, HEIGHT, FPS, crf=30) as writer:
        for _ in range(10 * FPS):
            small = rng.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
            writer.write(cv2.resize(small, (WIDTH, HEIGHT)).astype(np.uint8))


def usage() -> tuple[float, int, int]:
    """Resident memory in kB, file descriptors, and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory_kb = pages * os.sysconf("SC_PAGE_SIZE") / 1024
    return memory_kb, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def watched(url: str, reconnects: int) -> tuple[list[tuple[float, int, int]], int]:
    """The usage at the first frame after each reconnect, and the number of frames decoded."""
    from pipeline.frames import ConnectionState
    from pipeline.stages.source.live import LiveSource

    used: list[tuple[float, int, int]] = []
    with LiveSource(url, "door", "e1", HASTY, analyse_fps=0) as source:
        for seen in source:
            if not isinstance(seen, ConnectionState) and source.reconnects > len(used):
                used.append(usage())
                if sys.stderr.isatty():
                    print(f"\r{len(used)}/{reconnects}", end="", file=sys.stderr)
            if len(used) >= reconnects:
                break
        return used, source.decoded


def figures(used: list[tuple[float, int, int]]) -> dict[str, Any]:
    """Slope of memory with its interval, and how far descriptors and threads range."""
    from scipy import stats

    memory, files, threads = (np.array(column) for column in zip(*used, strict=True))
    later = slice(len(used) // 10, None)
    count = np.arange(len(used))[later]
    fit = stats.linregress(count, memory[later])
    slope = float(fit.slope)
    reach = float(stats.t.ppf(0.975, len(count) - 2) * fit.stderr)
    return {
        "reconnects": len(used),
        "memory_mb": [round(float(memory[i]) / 1024, 1) for i in (0, -1)],
        "slope_kb": round(slope, 2),
        "slope_kb_interval": [round(slope - reach, 2), round(slope + reach, 2)],
        "files": [int(files[later].min()), int(files[later].max())],
        "threads": [int(threads[later].min()), int(threads[later].max())],
        "ok": bool(
            slope + reach < MOST_KB and np.ptp(files[later]) <= 2 and np.ptp(threads[later]) <= 2
        ),
    }


def main() -> int:
    """Measure, print, and write the figures beside the other results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reconnects", type=int, default=200, help="20 or more")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "film.mkv"
        film(clip)
        command = ["/usr/bin/python3", SERVER, clip, "--hang-up", str(HANG_UP_S)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout
                url = f"rtsp://127.0.0.1:{int(server.stdout.readline())}/clip"
                used, decoded = watched(url, given.reconnects)
            finally:
                server.kill()
    result = save_result("soak", {"picture": [WIDTH, HEIGHT], "decoded": decoded, **figures(used)})
    if given.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            told = ", ".join(map(str, value)) if isinstance(value, list) else value
            print(f"{name:>20}  {told}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
