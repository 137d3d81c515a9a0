"""CPU time that an analysed frame of a live camera costs: python -m benchmarks.stream_cost

    [--film faces,empty] [--fps 5] [--rounds 2] [--against FOLDER]

The films of `benchmarks.streams` pass the decoder and the stages of one camera as a live camera's
frames do, but as fast as they go, so that the figures hold on a busy machine too: CPU milliseconds
of the process for each analysed frame, and the cameras that one core would carry with nothing else
to do. Outbox, relay, store and Ray come on top: `benchmarks.streams` has them. --against: another
checkout, in turns.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import save_result

ROOT = Path(__file__).parents[1]


class Unhurried:
    """A film, again and again, as a live camera whose frames come when they are asked for; only due
    ones are converted."""

    is_live, ending, fps, short_clip_frames = True, "stopped", 25.0, None
    camera, run = "cost", "e1"

    def __init__(self, film: Path, fps: float, rounds: int) -> None:
        from pipeline.stages.frame_sampler import FrameSampler

        self.sampler, self._due = FrameSampler(0), FrameSampler(fps)
        self._film, self._rounds = film, rounds

    def counts(self) -> Any:
        """No frame is shed."""
        from pipeline.frames import Counts

        return Counts(0, 0, {})

    def __iter__(self) -> Iterator[Any]:
        import av

        from pipeline.frames import Frame, FrameHeader

        convert, index = _converter(), 0
        for _ in range(self._rounds):
            with av.open(str(self._film)) as container:
                container.streams.video[0].thread_count = 1
                for frame in container.decode(video=0):
                    pts_s, index = index / self.fps, index + 1
                    if self._due.is_due(pts_s):
                        ms = round(1000 * pts_s)
                        place = (self.camera, self.run, index, pts_s, ms, ms, "arrival")
                        header = FrameHeader(*place, frame.width, frame.height)  # type: ignore[arg-type]
                        yield Frame(header, convert(frame))


def _converter() -> Any:
    """From a decoded frame to what a checkout's `Frame` takes."""
    try:
        from pipeline.stages.source.images import DecodedImage, ToRgb
    except ImportError:  # a checkout that converts whole frames
        from pipeline.stages.source.decoding import ToRgb  # type: ignore[attr-defined,no-redef]

        return ToRgb()
    to_rgb = ToRgb()
    return lambda frame: DecodedImage(frame, to_rgb)


def measure(film: Path, fps: float, rounds: int) -> dict[str, Any]:
    """The figures of the checkout that is imported."""
    from pipeline.camera_config import CameraConfig
    from pipeline.config import load
    from pipeline.live.camera_worker import open_worker_detector
    from pipeline.live.stage_runner import run_stages
    from pipeline.records import Event, FaceObserved
    from pipeline.stages.classify import open_classify

    settings = load()
    detect, classify = open_worker_detector(settings.detector), open_classify(settings.emotion)
    detect(np.zeros((720, 1280, 3), np.uint8))
    observations, searched = 0, Counter[str]()

    def sink(events: Sequence[Event]) -> None:
        nonlocal observations
        observations += sum(isinstance(event, FaceObserved) for event in events)

    more: dict[str, Any] = {}
    if "on_search" in inspect.signature(run_stages).parameters:
        more["on_search"] = lambda how, seconds: searched.update([how])
    source: Any = Unhurried(film, fps, rounds)
    began = time.process_time()
    summary = run_stages(source, detect, classify, CameraConfig(settings), sink, **more)
    cpu_ms = 1000 * (time.process_time() - began) / summary.analysed
    return {
        "cpu_ms": round(cpu_ms, 2),
        "cameras_a_core": round(1000 / (fps * cpu_ms), 2),
        "faces": round(observations / summary.analysed, 2),
        "tracks": len(summary.tracks),
        "searched": dict(searched),
    }


def main() -> None:
    """Measure, print, and save the result; with --measure only this checkout and one film."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stream_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--film", default="faces,empty")
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        sys.stdout.write(json.dumps(measure(given.measure, given.fps, given.rounds)) + "\n")
        return
    from benchmarks.stream_films import write_scene

    trees = {"this": ROOT} | ({"against": given.against.resolve()} if given.against else {})
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        for kind in given.film.split(","):
            scene = Path(name) / f"{kind}.mkv"
            write_scene(scene, kind)
            for tree, path in trees.items():
                rows[f"{kind}, {tree}"] = _measure_in(path, scene, given)
                print(f"{kind}, {tree}", json.dumps(rows[f"{kind}, {tree}"]), flush=True)
    load = round(os.getloadavg()[0], 1)
    save_result("stream-cost", {"fps": given.fps, "load": load, "figures": rows})


def _measure_in(tree: Path, scene: Path, given: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process of its own, with the packages of a checkout."""
    command = [sys.executable, __file__, "--measure", str(scene), "--fps", str(given.fps)]
    environment = os.environ | {"PYTHONPATH": f"{tree}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--rounds", str(given.rounds)],
        env=environment,
        cwd=tree,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
